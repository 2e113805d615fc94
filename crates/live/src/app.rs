//! What every connection shares: models, keys, the way to the control thread.

use crate::cell::{Cell, End};
use crate::clock::Pace;
use crate::control::{Message, Snapshot};
use crate::keys::{Keys, Who};
use crate::log::{Entry, JobOrder, Request};
use crate::openai::ApiError;
use crate::text::{Blocks, Style, Vocabulary, mix};
use ::jobs::Intake;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use rustc_hash::FxHashMap;
use serving::Budget;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;
use units::{Bytes, DollarsPerHour, Seconds, Watts};
use workload::Lengths;

/// Requests in flight at most: what is held of each is small, but not nothing.
pub const MOST_IN_FLIGHT: usize = 262_144;

/// A model that is served.
#[derive(Debug, Clone)]
pub struct Model {
    /// What clients call it.
    pub name: String,
    /// Its deployment.
    pub deployment: u32,
    /// Longest context in tokens.
    pub max_context: u32,
    /// Tokens per hash of a prefix; zero where none are cached.
    pub block: u32,
    /// Tokens that are gathered before any is sent.
    pub gate: u32,
}

/// A pool, for metrics: figures of one chip of it.
#[derive(Debug, Clone)]
pub struct PoolFacts {
    /// Its name.
    pub name: String,
    /// Its deployment.
    pub deployment: u32,
    /// The chip's name.
    pub chip: String,
    /// Whether the chip's exporter is Huawei's.
    pub ascend: bool,
    /// The system it is in.
    pub system: String,
    /// Draw while idle.
    pub idle_chip: Watts,
    /// Usual peak draw.
    pub peak_chip: Watts,
    /// Device memory.
    pub memory_chip: Bytes,
    /// Weights in it.
    pub weights_chip: Bytes,
    /// What KV blocks may take.
    pub kv_chip: Bytes,
}

/// What running the chips costs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Money {
    /// Owning or renting all chips, per hour; `None` where nobody knows.
    pub hourly: Option<DollarsPerHour>,
    /// Electricity per joule at the chips, losses of the building included.
    pub per_joule: f64,
}

/// What every connection shares.
pub struct App {
    /// Pools in order.
    pub pools: Vec<PoolFacts>,
    /// What it costs.
    pub money: Money,
    /// Models in the order of deployments.
    pub models: Vec<Model>,
    /// Virtual time.
    pub pace: Pace,
    /// Who may come in.
    pub keys: Keys,
    /// Lengths of answers that end by themselves.
    pub output: Lengths,
    /// How answers are made up.
    pub style: Style,
    /// Seed of everything random.
    pub seed: u64,
    /// Tells the ids of this run from those of others.
    pub run: String,
    /// Chips altogether, for `/server_info`.
    pub chips: u32,
    /// What token numbers stand for.
    pub vocabulary: Vocabulary,
    /// Reads and prices jobs that are submitted.
    pub intake: Option<Arc<Intake>>,
    /// Tokens of blocks, where somebody is told of blocks.
    stored: Option<Mutex<Stored>>,
    inbox: Mutex<Sender<Message>>,
    next: AtomicU64,
    in_flight: AtomicUsize,
    /// Set when the server takes no new requests.
    pub draining: AtomicBool,
    /// Set when the control thread has broken.
    pub broken: AtomicBool,
    /// Connections that were cut because they did not take what was sent.
    pub slow: AtomicU64,
    /// Open connections.
    pub connections: AtomicUsize,
}

/// Blocks whose tokens are remembered at most: the latest.
const MOST_BLOCKS: usize = 1 << 18;

/// Tokens of blocks by hash.
#[derive(Debug, Default)]
struct Stored {
    tokens: FxHashMap<u64, Arc<[u32]>>,
    order: VecDeque<u64>,
}

impl Stored {
    fn add(&mut self, blocks: &Blocks) {
        for (hash, tokens) in blocks.full() {
            if self.tokens.insert(hash, Arc::from(tokens)).is_none() {
                self.order.push_back(hash);
            }
        }
        while self.order.len() > MOST_BLOCKS {
            if let Some(oldest) = self.order.pop_front() {
                self.tokens.remove(&oldest);
            }
        }
    }
}

/// What an app is made of.
pub struct Parts {
    /// As [`App::pools`].
    pub pools: Vec<PoolFacts>,
    /// As [`App::money`].
    pub money: Money,
    /// As [`App::models`].
    pub models: Vec<Model>,
    /// As [`App::pace`].
    pub pace: Pace,
    /// As [`App::keys`].
    pub keys: Keys,
    /// As [`App::output`].
    pub output: Lengths,
    /// As [`App::style`].
    pub style: Style,
    /// As [`App::seed`].
    pub seed: u64,
    /// As [`App::run`].
    pub run: String,
    /// As [`App::chips`].
    pub chips: u32,
    /// Whether the tokens of blocks are remembered.
    pub block_tokens: bool,
    /// As [`App::intake`].
    pub intake: Option<Arc<Intake>>,
    /// The way to the control thread.
    pub inbox: Sender<Message>,
}

/// A request on its way in.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Index of its model.
    pub model: usize,
    /// Its prompt.
    pub blocks: Blocks,
    /// Output tokens it will have.
    pub output: u32,
    /// The client's limit.
    pub max_tokens: Option<u32>,
    /// Whether tokens are sent as they come.
    pub streams: bool,
    /// The conversation.
    pub session: Option<u64>,
    /// Class of service.
    pub priority: u8,
    /// The instance that the client has chosen.
    pub instance: Option<u32>,
}

impl App {
    /// Puts an app together.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            pools,
            money,
            models,
            pace,
            keys,
            output,
            style,
            seed,
            run,
            chips,
            block_tokens,
            intake,
            inbox,
        } = parts;
        Self {
            pools,
            money,
            models,
            pace,
            keys,
            output,
            style,
            seed,
            run,
            chips,
            vocabulary: Vocabulary::default(),
            intake,
            stored: block_tokens.then(Mutex::default),
            inbox: Mutex::new(inbox),
            next: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            slow: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        }
    }

    /// An empty prompt of a model.
    pub fn blocks(&self, model: usize) -> Blocks {
        let blocks = Blocks::new(self.models[model].block, model as u64);
        if self.stored.is_some() { blocks.keeping() } else { blocks }
    }

    /// Remembers the tokens of full blocks, for who is told of them.
    pub fn remember(&self, blocks: &Blocks) {
        if let Some(stored) = &self.stored {
            stored.lock().unwrap_or_else(PoisonError::into_inner).add(blocks);
        }
    }

    /// The tokens of a block; none where they are not remembered.
    pub fn block_tokens(&self, hash: u64) -> Arc<[u32]> {
        let stored = self.stored.as_ref().map(|stored| stored.lock().unwrap_or_else(PoisonError::into_inner));
        stored.and_then(|stored| stored.tokens.get(&hash).cloned()).unwrap_or_default()
    }

    /// Tells the control thread; false if it is gone.
    pub fn tell(&self, message: Message) -> bool {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).send(message).is_ok()
    }

    /// What the cluster has cost up to virtual time `now`; `None` where nobody knows the price of the chips.
    pub fn dollars(&self, now: Seconds, energy: f64) -> Option<f64> {
        self.money.hourly.map(|hourly| hourly.get() * now.get() / 3600.0 + energy * self.money.per_joule)
    }

    /// Requests of connections in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it takes requests.
    ///
    /// # Errors
    /// 503 if not.
    pub fn ready(&self) -> Result<(), ApiError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(ApiError::new(503, "the control plane has stopped; see the server's messages"));
        }
        if self.draining.load(Ordering::Relaxed) {
            let error = ApiError::new(503, "the server is on its way down and takes no new requests");
            return Err(ApiError { retry_after: Some(5), ..error });
        }
        Ok(())
    }

    /// The model of that name; the first one if none is given.
    ///
    /// # Errors
    /// 404 for a name that is not served.
    pub fn model(&self, name: Option<&str>) -> Result<usize, ApiError> {
        let Some(name) = name else { return Ok(0) };
        self.models.iter().position(|model| model.name == name).ok_or_else(|| {
            let served: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
            let message = format!("the model `{name}` does not exist; served are {}", served.join(", "));
            ApiError { param: Some("model"), ..ApiError::new(404, message) }
        })
    }

    /// The number of the next request.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A length of an answer that ends by itself.
    pub fn draw(&self, seed: u64) -> u32 {
        self.output.draw(&mut Pcg64Mcg::seed_from_u64(mix(self.seed ^ mix(seed)))).max(1)
    }

    /// Sends a request to the control thread.
    ///
    /// # Errors
    /// 503 if there are too many, or if the control thread is gone.
    pub fn ask(
        self: &Arc<Self>,
        ask: Ask,
        who: &Who,
        after: Vec<u64>,
        received: Instant,
    ) -> Result<Asked, ApiError> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= MOST_IN_FLIGHT {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            let message = format!("more than {MOST_IN_FLIGHT} requests in flight");
            return Err(ApiError { retry_after: Some(1), ..ApiError::new(503, message) });
        }
        let (id, cell) = (self.number(), Arc::new(Cell::new(ask.streams)));
        let asked = Asked { app: Arc::clone(self), id, cell: Arc::clone(&cell) };
        let model = &self.models[ask.model];
        let request = Request {
            id,
            input: ask.blocks.tokens,
            output: ask.output,
            max_tokens: ask.max_tokens,
            deployment: model.deployment,
            tenant: who.tenant,
            session: ask.session,
            priority: ask.priority,
            instance: ask.instance,
            prefix: ask.blocks.hashes,
            after,
        };
        let message = Message::Arrive { request, cell, received, gate: model.gate, key: who.key.clone() };
        if self.tell(message) { Ok(asked) } else { Err(ApiError::new(503, "the control plane has stopped")) }
    }

    /// Something from an administrator; its number in the log.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn administer(&self, entry: Entry) -> Result<u64, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.tell(Message::Admin(entry, answer));
        let gone = |_| ApiError::new(503, "the control plane has stopped");
        answered.await.map_err(gone)?.map_err(|why| ApiError::new(400, why))
    }

    /// Something about jobs; its number in the log and those of new jobs.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn order_jobs(&self, order: JobOrder) -> Result<(u64, Vec<u32>), ApiError> {
        let gone = |_| ApiError::new(503, "the control plane has stopped");
        let mut read = None;
        if let (JobOrder::SubmitJob(entry), Some(intake)) = (&order, &self.intake) {
            // Pricing a job takes its time, which nobody else is to wait for.
            let (entry, intake) = (entry.clone(), Arc::clone(intake));
            let priced = tokio::task::spawn_blocking(move || intake.read(&entry)).await;
            let priced = priced.map_err(|_| ApiError::new(500, "the job cannot be priced"))?;
            read = Some(priced.map_err(|error| ApiError::new(400, error.to_string()))?);
        }
        let (answer, answered) = oneshot::channel();
        self.tell(Message::Job { order, read, answer });
        answered.await.map_err(gone)?.map_err(|why| ApiError::new(400, why))
    }

    /// What a tenant has left of its limits; `None` if it has none.
    pub async fn budget(&self, tenant: u32) -> Option<Budget> {
        let (answer, answered) = oneshot::channel();
        self.tell(Message::Budget(tenant, answer));
        answered.await.ok().flatten()
    }

    /// A look at everything.
    ///
    /// # Errors
    /// 503 if the control thread is gone.
    pub async fn look(&self) -> Result<Box<Snapshot>, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.tell(Message::Look(answer));
        answered.await.map_err(|_| ApiError::new(503, "the control plane has stopped"))
    }
}

/// A request that has been sent. Dropped before its end, it is cancelled.
pub struct Asked {
    app: Arc<App>,
    /// Its number.
    pub id: u64,
    /// What comes of it.
    pub cell: Arc<Cell>,
}

impl Asked {
    /// Waits for its end.
    pub async fn end(&self) -> End {
        let poll = |context: &mut std::task::Context<'_>| match self.cell.poll(u32::MAX, context) {
            std::task::Poll::Ready((_, Some(end))) => std::task::Poll::Ready(end),
            _ => std::task::Poll::Pending,
        };
        std::future::poll_fn(poll).await
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.app.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.cell.ended().is_none() {
            self.app.tell(Message::Cancel(self.id));
        }
    }
}
