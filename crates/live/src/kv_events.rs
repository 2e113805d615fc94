//! Changes of prefix caches as vLLM publishes them: ZeroMQ PUB with msgpack, one socket per instance.
//!
//! Only what a publisher needs of ZMTP 3.0 is here: the NULL greeting, subscriptions, and messages of three frames: topic,
//! sequence number (big-endian), and `[timestamp, events, rank]`.

use crate::app::App;
use crate::front::KvEvent;
use crate::kv_replay::{self, Kept};
use serving::{KvChange, Nanos};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::broadcast::{self, error::RecvError};

/// Messages that a slow subscriber may be behind before it misses some, as ZeroMQ's high-water mark.
const BEHIND: usize = 65_536;

/// Longest command or subscription that is read.
const LONGEST: u64 = 4096;

/// A message: topic, and both other frames.
pub(crate) type Message = Arc<(Vec<u8>, [u8; 8], Vec<u8>)>;

/// Publishes what comes from `events` on the sockets of its instances.
///
/// # Errors
/// A system without threads.
pub fn publish(
    runtime: &Runtime,
    events: Receiver<(Nanos, Vec<KvEvent>)>,
    listeners: Vec<(u32, TcpListener)>,
    replays: Vec<(u32, TcpListener)>,
    app: &Arc<App>,
    main: SocketAddr,
) -> io::Result<()> {
    let mut sockets = BTreeMap::new();
    for (instance, listener) in listeners {
        let (sender, _) = broadcast::channel::<Message>(BEHIND);
        let port = listener.local_addr().map_or(main.port(), |address| address.port());
        let topic = format!("kv@{}:{port}@{}", main.ip(), app.models[0].name).into_bytes();
        sockets.insert(instance, (sender.clone(), topic, Kept::default()));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = sender.subscribe();
                tokio::spawn(async move {
                    // A subscriber that goes away is its own business.
                    let _ = subscriber(stream, receiver).await;
                });
            }
        });
    }
    for (instance, listener) in replays {
        if let Some((.., kept)) = sockets.get(&instance) {
            kv_replay::serve(runtime, listener, kept.clone());
        }
    }
    let (block, epoch) = (app.models[0].block, app.pace.epoch as f64);
    let app = Arc::clone(app);
    let run = move || {
        let mut sequence: BTreeMap<u32, u64> = BTreeMap::new();
        for (at, batch) in events {
            let mut by_rank: BTreeMap<(u32, u32), Vec<KvChange>> = BTreeMap::new();
            for event in batch {
                by_rank.entry((event.instance, event.rank)).or_default().push(event.change);
            }
            for ((instance, rank), changes) in by_rank {
                let Some((sender, topic, kept)) = sockets.get(&instance) else { continue };
                let number = sequence.entry(instance).or_default();
                let payload = payload(epoch + at.seconds().get(), &changes, rank, block, &app);
                let message: Message = Arc::new((topic.clone(), number.to_be_bytes(), payload));
                kept.add(Arc::clone(&message));
                // Nobody has subscribed: the message is kept for who asks, and no more.
                let _ = sender.send(message);
                *number += 1;
            }
        }
    };
    std::thread::Builder::new().name("kv-events".to_owned()).spawn(run).map(|_| ())
}

/// A batch in vLLM's form: an array of events, each an array that begins with its name.
fn payload(at: f64, changes: &[KvChange], rank: u32, block: u32, app: &App) -> Vec<u8> {
    let mut out = Vec::with_capacity(changes.len() * 48 + 32);
    array(&mut out, 3);
    out.push(0xCB);
    out.extend_from_slice(&at.to_be_bytes());
    array(&mut out, changes.len());
    for change in changes {
        match change {
            KvChange::Stored { hash, parent } => {
                array(&mut out, 7);
                text(&mut out, "BlockStored");
                array(&mut out, 1);
                unsigned(&mut out, *hash);
                match parent {
                    Some(parent) => unsigned(&mut out, *parent),
                    None => out.push(0xC0),
                }
                // Of a block that has been forgotten meanwhile there are none.
                let tokens = app.block_tokens(*hash);
                array(&mut out, tokens.len());
                tokens.iter().for_each(|token| unsigned(&mut out, u64::from(*token)));
                unsigned(&mut out, u64::from(block));
                out.push(0xC0);
                text(&mut out, "GPU");
            }
            KvChange::Evicted { hash } => {
                array(&mut out, 3);
                text(&mut out, "BlockRemoved");
                array(&mut out, 1);
                unsigned(&mut out, *hash);
                text(&mut out, "GPU");
            }
            KvChange::Cleared => {
                array(&mut out, 1);
                text(&mut out, "AllBlocksCleared");
            }
        }
    }
    unsigned(&mut out, u64::from(rank));
    out
}

fn array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=15 => out.push(0x90 | length as u8),
        16..=65_535 => {
            out.push(0xDC);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xDD);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Names of events and media are shorter than 32 bytes.
    out.push(0xA0 | text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn unsigned(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        out.push(value as u8);
    } else {
        out.push(0xCF);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Greets, and says what kind of socket this is.
pub(crate) async fn greet(stream: &mut TcpStream, kind: &str) -> io::Result<()> {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xFF, 0x7F, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).await?;
    let mut theirs = [0; 64];
    stream.read_exact(&mut theirs).await?;
    if theirs[0] != 0xFF || theirs[10] < 3 || &theirs[12..17] != b"NULL\0" {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut ready = b"\x05READY\x0BSocket-Type".to_vec();
    ready.extend_from_slice(&(kind.len() as u32).to_be_bytes());
    ready.extend_from_slice(kind.as_bytes());
    // A command of less than 256 bytes: its flags and its length come first.
    let head = [4, ready.len() as u8];
    stream.write_all(&[&head[..], &ready].concat()).await
}

async fn subscriber(mut stream: TcpStream, mut messages: broadcast::Receiver<Message>) -> io::Result<()> {
    greet(&mut stream, "PUB").await?;
    let (mut input, mut output) = stream.into_split();
    let (told, mut topics) = tokio::sync::mpsc::channel::<(bool, Vec<u8>)>(64);
    let reader = tokio::spawn(async move {
        while let Ok(ZmqFrame { command, body, .. }) = frame(&mut input).await {
            let topic = match (command, body.first()) {
                (false, Some(flag @ (0 | 1))) => Some((*flag == 1, body[1..].to_vec())),
                (true, _) if body.starts_with(b"\x09SUBSCRIBE") => Some((true, body[10..].to_vec())),
                (true, _) if body.starts_with(b"\x06CANCEL") => Some((false, body[7..].to_vec())),
                _ => None,
            };
            if let Some(topic) = topic {
                if told.send(topic).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut wanted: Vec<Vec<u8>> = Vec::new();
    let result = loop {
        tokio::select! {
            topic = topics.recv() => match topic {
                Some((true, topic)) => wanted.push(topic),
                Some((false, topic)) => wanted.retain(|known| *known != topic),
                None => break Ok(()),
            },
            message = messages.recv() => match message {
                Ok(message) if wanted.iter().any(|topic| message.0.starts_with(topic)) => {
                    if let Err(error) = output.write_all(&frames(&[&message.0, &message.1, &message.2])).await {
                        break Err(error);
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break Ok(()),
            },
        }
    };
    reader.abort();
    result
}

/// One frame.
pub(crate) struct ZmqFrame {
    /// Whether it is a command.
    pub command: bool,
    /// Whether more frames of its message follow.
    pub more: bool,
    /// Its body.
    pub body: Vec<u8>,
}

pub(crate) async fn frame(input: &mut (impl AsyncReadExt + Unpin)) -> io::Result<ZmqFrame> {
    let flags = input.read_u8().await?;
    let length = if flags & 2 == 0 { u64::from(input.read_u8().await?) } else { input.read_u64().await? };
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length as usize];
    input.read_exact(&mut body).await?;
    Ok(ZmqFrame { command: flags & 4 != 0, more: flags & 1 != 0, body })
}

/// A message of these frames.
pub(crate) fn frames(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 10).sum());
    for (at, part) in parts.iter().enumerate() {
        let more = u8::from(at + 1 < parts.len());
        match u8::try_from(part.len()) {
            Ok(length) => out.extend_from_slice(&[more, length]),
            Err(_) => {
                out.push(more | 2);
                out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(part);
    }
    out
}
