//! Bringing a cluster up, and down again.

use crate::app::{App, Model, Money, Parts, PoolFacts};
use crate::clock::{Pace, Speed};
use crate::cluster::Cluster;
use crate::control::{Control, Message};
use crate::core::{Core, CoreError, take_and_log};
use crate::front::Front;
use crate::keys::{self, Keys, KeysError};
use crate::ledger::{Ledger, LedgerError};
use crate::log::{Entry, Header, LogError, Order, Writer};
use crate::routes::Port;
use crate::script::{self, ScriptError};
use crate::server::{Limits, Service, serve};
use crate::text::Style;
use crate::tls::{self, TlsError};
use ::jobs::Intake;
use cost::step::StepPricer;
use serving::Nanos;
use sim::SimError;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use workload::Lengths;

/// How to come up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen on. One that others reach needs keys.
    pub host: IpAddr,
    /// The main port; 0 takes any.
    pub port: u16,
    /// The administrator's port, on loopback.
    pub admin_port: Option<u16>,
    /// The port of the chips' metrics.
    pub metrics_port: Option<u16>,
    /// Each instance that takes prompts has a port of its own from here on.
    pub instance_base: Option<u16>,
    /// KV events of each instance that takes prompts are published from here on.
    pub kv_base: Option<u16>,
    /// What was published of KV is asked for again from here on.
    pub kv_replay: Option<u16>,
    /// Virtual over wall time.
    pub speed: Speed,
    /// The input log.
    pub log: Option<PathBuf>,
    /// The ledger.
    pub ledger: Option<PathBuf>,
    /// The file of keys.
    pub keys: Option<PathBuf>,
    /// Certificate and key of the main port and those of instances; without them they speak plain HTTP.
    pub tls: Option<tls::Files>,
    /// The administrator's token; a random one if none is given.
    pub token: Option<String>,
    /// Lengths of answers that end by themselves.
    pub output: Lengths,
    /// How answers are made up.
    pub style: Style,
    /// Seed of everything random.
    pub seed: u64,
    /// What describes the cluster, for the log.
    pub arguments: Vec<String>,
    /// The scenario's text, for the log.
    pub scenario: Option<String>,
    /// The text of the file of jobs, for the log.
    pub jobs: Option<String>,
    /// Commands that come by themselves.
    pub script: Option<PathBuf>,
    /// How long requests may take to end once the server is told to go down.
    pub drain: Duration,
    /// What connections may do.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8000,
            admin_port: Some(8001),
            metrics_port: Some(9400),
            instance_base: None,
            kv_base: None,
            kv_replay: None,
            speed: Speed::default(),
            log: None,
            ledger: None,
            keys: None,
            tls: None,
            token: None,
            output: Lengths::LogNormal { median: 200.0, sigma: 0.7, max: 4096 },
            style: Style::default(),
            seed: 0,
            arguments: Vec::new(),
            scenario: None,
            jobs: None,
            script: None,
            drain: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

/// Why a cluster does not come up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// A port cannot be had.
    #[error("{address}: cannot be listened on ({error}); give another port")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// Others could come in without a key.
    #[error("{0} is reached by others; give keys with --keys, or listen on 127.0.0.1")]
    Open(IpAddr),
    /// The system gives no threads or no random numbers.
    #[error("the server cannot be started ({0})")]
    System(#[from] std::io::Error),
    /// The log cannot be begun.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The script cannot be read.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The first events break something.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The world cannot be started.
    #[error(transparent)]
    Sim(#[from] SimError),
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The main port.
    pub main: SocketAddr,
    /// The administrator's port.
    pub admin: Option<SocketAddr>,
    /// The chips' metrics.
    pub metrics: Option<SocketAddr>,
    /// Instances and their ports.
    pub instances: Vec<(u32, SocketAddr)>,
    /// KV events of instances.
    pub kv: Vec<(u32, SocketAddr)>,
    /// Where these can be asked for again.
    pub kv_replay: Vec<(u32, SocketAddr)>,
}

/// A cluster that is up.
pub struct Server {
    runtime: Runtime,
    /// What its connections share.
    pub app: Arc<App>,
    /// Where it listens.
    pub addresses: Addresses,
    /// The administrator's token.
    pub token: String,
    stop: watch::Sender<bool>,
    control: JoinHandle<Result<String, String>>,
    ledger: Option<JoinHandle<()>>,
    drain: Duration,
}

/// What the app is told of its cluster.
struct Facts {
    pools: Vec<PoolFacts>,
    money: Money,
    models: Vec<Model>,
    chips: u32,
    intake: Option<Arc<Intake>>,
}

fn app(
    facts: Facts,
    settings: &Settings,
    keys: Keys,
    run: String,
    pace: Pace,
    inbox: Sender<Message>,
) -> App {
    let Facts { pools, money, models, chips, intake } = facts;
    let (output, style, seed) = (settings.output, settings.style, settings.seed);
    App::new(Parts {
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
        block_tokens: settings.kv_base.is_some(),
        intake,
        inbox,
    })
}

/// A thread's result: the last hash, or what has broken it.
fn control_thread<P: StepPricer>(
    mut control: Control<P>,
    inbox: &Receiver<Message>,
    broken: &std::sync::atomic::AtomicBool,
) -> Result<String, String> {
    let ran = catch_unwind(AssertUnwindSafe(|| control.run(inbox)));
    let why = match ran {
        Ok(Ok(())) => return Ok(control.hash()),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    broken.store(true, Ordering::Relaxed);
    eprintln!("error: the control plane has stopped: {why}");
    control.abandon();
    Err(why)
}

impl Server {
    /// Brings a cluster up.
    ///
    /// # Errors
    /// A port, a file or a key that cannot be used.
    pub fn start<P: StepPricer + Send + 'static>(
        cluster: Cluster<P>,
        settings: Settings,
    ) -> Result<Self, UpError> {
        let keys = settings.keys.as_deref().map(Keys::read).transpose()?.unwrap_or_default();
        if !settings.host.is_loopback() && keys.is_empty() {
            return Err(UpError::Open(settings.host));
        }
        let script = settings.script.as_deref().map(script::read).transpose()?;
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let run = keys::hex(&keys::random::<6>()?);
        let token =
            settings.token.clone().map_or_else(|| keys::random::<16>().map(|bytes| keys::hex(&bytes)), Ok)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut listening = runtime.block_on(listen(&settings, &cluster.entries))?;
        let meters = cluster.meters();
        let Cluster { world, models, pools, chips, money, jobs, .. } = cluster;
        let intake = jobs.as_ref().map(|jobs| Arc::clone(&jobs.intake));
        let ledger = settings.ledger.as_deref().map(|path| Ledger::open(path, &run)).transpose()?;
        let (ledger, ledger_thread) = ledger.unzip();
        let kv = (!listening.kv.is_empty()).then(channel);
        let (kv_sender, kv_receiver) = kv.unzip();
        let mut front = Front::default();
        (front.ledger, front.kv) = (ledger, kv_sender);
        let mut core = Core::start(world, jobs, meters, front, settings.kv_base.is_some())?;
        let mut log =
            settings.log.as_deref().map(|path| Writer::create(path, &header(&settings))).transpose()?;
        limits_of_keys(&keys, &mut core, log.as_mut())?;
        let pace = Pace::start(settings.speed);
        let (inbox, messages) = channel();
        let facts = Facts { pools, money, models, chips, intake };
        let app = Arc::new(app(facts, &settings, keys, run, pace, inbox));
        let control = Control::new(core, log, pace);
        let shared = Arc::clone(&app);
        let control = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control_thread(control, &messages, &shared.broken))?;
        let (stop, stopped) = watch::channel(false);
        let addresses = listening.addresses();
        if let Some(commands) = script {
            runtime.spawn(script::run(Arc::clone(&app), commands));
        }
        if let Some(events) = kv_receiver {
            let sockets = std::mem::take(&mut listening.kv);
            let replays = std::mem::take(&mut listening.kv_replay);
            crate::kv_events::publish(&runtime, events, sockets, replays, &app, addresses.main)?;
        }
        serve_all(&runtime, listening.services(&token), &app, settings.limits, tls.as_ref(), &stopped);
        Ok(Self {
            runtime,
            app,
            addresses,
            token,
            stop,
            control,
            ledger: ledger_thread,
            drain: settings.drain,
        })
    }

    /// Waits for a signal to end, or for the control plane to break.
    pub fn wait(&self) {
        let app = &self.app;
        self.runtime.block_on(async {
            let broken = async {
                while !app.broken.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            };
            tokio::select! {
                () = signalled() => {}
                () = broken => {}
            }
        });
    }

    /// Takes no new requests, lets those in flight end for as long as the settings say, and goes down. Returns the hash of
    /// all decisions.
    ///
    /// # Errors
    /// What broke the control plane.
    pub fn stop(self) -> Result<String, String> {
        self.app.draining.store(true, Ordering::Relaxed);
        let until = Instant::now() + self.drain;
        while self.app.in_flight() > 0 && Instant::now() < until && !self.app.broken.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.stop.send(true);
        self.app.tell(Message::Stop);
        let hash = self.control.join().unwrap_or_else(|_| Err("the control thread panicked".to_owned()));
        // Last frames are on their way.
        let until = Instant::now() + Duration::from_secs(1);
        while self.app.connections.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.runtime.shutdown_timeout(Duration::from_millis(100));
        if let Some(ledger) = self.ledger {
            let _ = ledger.join();
        }
        hash
    }
}

fn serve_all(
    runtime: &Runtime,
    services: Vec<(TcpListener, Service)>,
    app: &Arc<App>,
    limits: Limits,
    tls: Option<&TlsAcceptor>,
    stopped: &watch::Receiver<bool>,
) {
    for (listener, service) in services {
        let tls = tls.cloned().filter(|_| matches!(service, Service::Api(_)));
        runtime.spawn(serve(listener, Arc::clone(app), service, limits, tls, stopped.clone()));
    }
}

fn header(settings: &Settings) -> Header {
    Header {
        supernode_input_log: crate::log::VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        arguments: settings.arguments.clone(),
        scenario: settings.scenario.clone(),
        kv_events: settings.kv_base.is_some(),
        jobs: settings.jobs.clone(),
    }
}

/// Limits that come with keys are decisions like any other: they go through the log.
fn limits_of_keys<P: StepPricer>(
    keys: &Keys,
    core: &mut Core<P, Front>,
    log: Option<&mut Writer>,
) -> Result<(), CoreError> {
    let orders: Vec<Order> = keys
        .terms
        .iter()
        .map(|terms| Order::Tenant {
            tenant: terms.tenant,
            weight: terms.weight,
            rate: terms.rate,
            concurrency: terms.concurrency,
            tokens_per_minute: terms.tokens_per_minute,
        })
        .collect();
    if !orders.is_empty() {
        take_and_log(core, log, Nanos::ZERO, Entry::Admin(orders))?;
    }
    Ok(())
}

struct Listening {
    main: TcpListener,
    admin: Option<TcpListener>,
    metrics: Option<TcpListener>,
    instances: Vec<(u32, TcpListener)>,
    kv: Vec<(u32, TcpListener)>,
    kv_replay: Vec<(u32, TcpListener)>,
}

async fn listen(settings: &Settings, entries: &[u32]) -> Result<Listening, UpError> {
    async fn bind(host: IpAddr, port: u16) -> Result<TcpListener, UpError> {
        let address = SocketAddr::new(host, port);
        TcpListener::bind(address).await.map_err(|error| UpError::Listen { address, error })
    }
    async fn optional(host: IpAddr, port: Option<u16>) -> Result<Option<TcpListener>, UpError> {
        match port {
            Some(port) => bind(host, port).await.map(Some),
            None => Ok(None),
        }
    }
    async fn each(
        host: IpAddr,
        base: Option<u16>,
        entries: &[u32],
    ) -> Result<Vec<(u32, TcpListener)>, UpError> {
        let mut listeners = Vec::new();
        let Some(base) = base else { return Ok(listeners) };
        for (index, instance) in entries.iter().enumerate() {
            let port = if base == 0 { Some(0) } else { u16::try_from(usize::from(base) + index).ok() };
            let Some(port) = port else {
                let address = SocketAddr::new(host, base);
                let error = std::io::Error::other(format!("{} ports do not fit behind it", entries.len()));
                return Err(UpError::Listen { address, error });
            };
            listeners.push((*instance, bind(host, port).await?));
        }
        Ok(listeners)
    }
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Ok(Listening {
        main: bind(settings.host, settings.port).await?,
        admin: optional(local, settings.admin_port).await?,
        metrics: optional(settings.host, settings.metrics_port).await?,
        instances: each(settings.host, settings.instance_base, entries).await?,
        kv: each(settings.host, settings.kv_base, entries).await?,
        kv_replay: each(settings.host, settings.kv_replay, entries).await?,
    })
}

impl Listening {
    fn addresses(&self) -> Addresses {
        let of = |listener: &TcpListener| {
            listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        let each = |all: &[(u32, TcpListener)]| {
            all.iter().map(|(number, listener)| (*number, of(listener))).collect()
        };
        Addresses {
            main: of(&self.main),
            admin: self.admin.as_ref().map(of),
            metrics: self.metrics.as_ref().map(of),
            instances: each(&self.instances),
            kv: each(&self.kv),
            kv_replay: each(&self.kv_replay),
        }
    }

    fn services(self, token: &str) -> Vec<(TcpListener, Service)> {
        let mut services = vec![(self.main, Service::Api(Port::Main))];
        services.extend(self.admin.map(|listener| (listener, Service::Admin(Arc::from(token)))));
        services.extend(self.metrics.map(|listener| (listener, Service::Chips)));
        let instance = |(number, listener)| (listener, Service::Api(Port::Instance(number)));
        services.extend(self.instances.into_iter().map(instance));
        services
    }
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without signals there is only the end of the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
