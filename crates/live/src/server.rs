//! Listening, and connections with limits: on headers, bodies, idle time, readers that do not read, and their number.

use crate::admin;
use crate::app::App;
use crate::body::{Answer, error, with_type};
use crate::openai::ApiError;
use crate::prometheus;
use crate::routes::{Call, Port, answer};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// What a connection may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, over all ports.
    pub connections: usize,
    /// Bytes of a head.
    pub head: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Time for a head, from the last answer on: slow and idle clients are cut.
    pub head_time: Duration,
    /// Time for a body.
    pub body_time: Duration,
    /// Time in which some of an answer must be taken.
    pub write_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32_768,
            head: 64 << 10,
            body: 32 << 20,
            head_time: Duration::from_secs(75),
            body_time: Duration::from_secs(30),
            write_time: Duration::from_secs(60),
        }
    }
}

/// What a port is for.
#[derive(Debug, Clone)]
pub enum Service {
    /// OpenAI routes.
    Api(Port),
    /// Metrics of chips.
    Chips,
    /// The administrator's, with its token.
    Admin(Arc<str>),
}

/// Serves a port until `stop` changes; connections then end with the answer they are at.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    service: Service,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    let mut stopped = stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, say: those that end make room.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        if app.connections.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            app.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (app, service, tls, stop) = (Arc::clone(&app), service.clone(), tls.clone(), stop.clone());
        tokio::spawn(async move {
            // Without it the first token of a stream waits for an acknowledgement, 40 ms.
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(stream, Arc::clone(&app), service, limits, stop).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(limits.head_time, tls.accept(stream)).await {
                        connection(stream, Arc::clone(&app), service, limits, stop).await;
                    }
                }
            }
            app.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    app: Arc<App>,
    service: Service,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let cut = Arc::clone(&app);
    let stream = Timed { stream, limit: limits.write_time, waits: None, app: cut };
    let handler = service_fn(move |request: Request<Incoming>| {
        let (app, service) = (Arc::clone(&app), service.clone());
        async move { Ok::<Answer, Infallible>(handle(app, service, limits, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), handler);
    tokio::pin!(connection);
    tokio::select! {
        // What a client does to its own connection is its own business.
        _ = &mut connection => {}
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn handle(app: Arc<App>, service: Service, limits: Limits, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = if head.method == Method::POST {
        match timeout(limits.body_time, Limited::new(body, limits.body).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(wrong)) if wrong.downcast_ref::<LengthLimitError>().is_some() => {
                return error(&ApiError::new(413, format!("the body is longer than {} bytes", limits.body)));
            }
            Ok(Err(_)) => return error(&ApiError::new(400, "the body could not be read")),
            Err(_) => return error(&ApiError::new(408, "the body took too long")),
        }
    } else {
        Bytes::new()
    };
    let received = Instant::now();
    let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let path = head.uri.path();
    match service {
        Service::Api(port) => {
            let call = Call { method: &head.method, path, authorization, body, received, port };
            answer(&app, call).await
        }
        Service::Chips if head.method == Method::GET && matches!(path, "/metrics" | "/") => {
            match app.look().await {
                Ok(look) => {
                    with_type(200, "text/plain; version=0.0.4; charset=utf-8", prometheus::chips(&app, &look))
                }
                Err(wrong) => error(&wrong),
            }
        }
        Service::Chips => error(&ApiError::new(404, "metrics of the chips are at /metrics")),
        Service::Admin(token) => {
            let query = head.uri.query().unwrap_or("");
            let call = admin::Call { method: &head.method, path, query, authorization, body };
            admin::answer(&app, &token, call).await
        }
    }
}

/// A connection whose writes must get on.
struct Timed<S> {
    stream: S,
    limit: Duration,
    waits: Option<Pin<Box<Sleep>>>,
    app: Arc<App>,
}

impl<S> Timed<S> {
    /// What a write comes to: one that has waited too long fails.
    fn timed<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if waits.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.app.slow.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
