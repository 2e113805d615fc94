//! What was published of prefix caches, asked for again: who has missed messages asks a second socket of the instance for all
//! from a number on, as vLLM's publishers offer it (ZeroMQ ROUTER).
//!
//! A request is a number of eight bytes, big-endian; the answer is a message of three frames for each that is kept (an
//! empty one, its number, its payload), and one with the number -1 and no payload.

use crate::kv_events::{self, Message, frame, greet};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Messages of an instance that are kept, as vLLM's usual buffer.
const KEPT: usize = 10_000;

/// What was published last, by one instance.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<VecDeque<Message>>>);

impl Kept {
    /// One more; the oldest goes if there are too many.
    pub fn add(&self, message: Message) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(message);
    }

    fn from(&self, number: u64) -> Vec<Message> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|message| u64::from_be_bytes(message.1) >= number).cloned().collect()
    }
}

/// Answers on a socket.
pub fn serve(runtime: &Runtime, listener: TcpListener, kept: Kept) {
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                // A client that goes away is its own business.
                let _ = answer(stream, &kept).await;
            });
        }
    });
}

async fn answer(mut stream: TcpStream, kept: &Kept) -> io::Result<()> {
    greet(&mut stream, "ROUTER").await?;
    let (mut input, mut output) = stream.into_split();
    loop {
        let one = frame(&mut input).await?;
        // The number is the last frame of its message.
        if one.command || one.more {
            continue;
        }
        let number = <[u8; 8]>::try_from(one.body.as_slice()).map(u64::from_be_bytes);
        let Ok(number) = number else { return Err(io::ErrorKind::InvalidData.into()) };
        for message in kept.from(number) {
            output.write_all(&kv_events::frames(&[b"", &message.1, &message.2])).await?;
        }
        output.write_all(&kv_events::frames(&[b"", &(-1i64).to_be_bytes(), b""])).await?;
    }
}
