//! A stand-in's HTTP side: listens on a free loopback port, records, answers, misbehaves.
//!
//! Invariant: mischief is done to the answer, after the request was recorded; whether the request
//! was also carried out is the mischief's own choice.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pause between two bytes of a slow body.
const SLOW_PAUSE: Duration = Duration::from_millis(50);

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET`, `POST` …
    pub method: String,
    /// The path without the query, still percent-encoded.
    pub path: String,
    /// The query's pairs, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first value of the header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// The first value of the query's `name`.
    pub fn asked(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a stand-in answers.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without a body.
    pub fn empty(status: u16) -> Reply {
        Reply {
            status,
            ..Reply::default()
        }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: &serde_json::Value) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        }
        .with("content-type", "application/json; charset=utf-8")
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Mischief {
    /// This answer instead; nothing is carried out.
    Answer(Reply),
    /// No answer ever; nothing is carried out.
    Silence,
    /// Carried out, then the connection drops: the answer is lost.
    LoseAnswer,
    /// Carried out, but the body comes one byte at a time, 20 a second.
    SlowBody,
    /// Carried out, but answered only after this time; with none, this request goes well and the
    /// mischief waits for the next one.
    Delay(Duration),
}

/// How a stand-in answers a request: its whole behaviour.
type Answer = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// The server of a stand-in; it ends when this is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    answer: Answer,
    seen: Mutex<Vec<Seen>>,
    unanswered: Mutex<Vec<Seen>>,
    mischief: Mutex<VecDeque<Mischief>>,
    count: watch::Sender<usize>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            answer: Arc::new(answer),
            seen: Mutex::default(),
            unanswered: Mutex::default(),
            mischief: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Server {
            address,
            shared,
            task,
        })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Requests that were carried out and whose answer was lost, in order.
    pub fn unanswered(&self) -> Vec<Seen> {
        lock(&self.shared.unanswered).clone()
    }

    /// The next `count` requests go wrong in this way.
    pub fn fail_next(&self, count: usize, mischief: Mischief) {
        let mut waiting = lock(&self.shared.mischief);
        waiting.extend(std::iter::repeat_n(mischief, count));
    }

    /// The next `count` requests are answered with `status` and not carried out.
    pub fn answer_next(&self, count: usize, status: u16) {
        self.fail_next(count, Mischief::Answer(Reply::empty(status)));
    }

    /// Nothing goes wrong any more, whatever was asked for.
    pub fn behave(&self) {
        lock(&self.shared.mischief).clear();
    }

    /// Waits until `count` requests have come in.
    pub async fn wait_for(&self, count: usize) {
        let mut counter = self.shared.count.subscribe();
        // The sender lives as long as this server.
        let _ = counter.wait_for(|seen| *seen >= count).await;
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| handle(Arc::clone(&shared), request));
    // A connection that breaks is the client's affair or our own mischief.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let seen = read(request).await?;
    lock(&shared.seen).push(seen.clone());
    let mischief = lock(&shared.mischief).pop_front();
    shared.count.send_modify(|count| *count += 1);
    match mischief {
        None => whole((shared.answer)(&seen)),
        Some(Mischief::Answer(reply)) => whole(reply),
        Some(Mischief::Silence) => std::future::pending().await,
        Some(Mischief::LoseAnswer) => {
            (shared.answer)(&seen);
            lock(&shared.unanswered).push(seen);
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Some(Mischief::SlowBody) => slow((shared.answer)(&seen)),
        Some(Mischief::Delay(time)) => {
            let reply = (shared.answer)(&seen);
            tokio::time::sleep(time).await;
            whole(reply)
        }
    }
}

async fn read(request: Request<Incoming>) -> io::Result<Seen> {
    let (parts, body) = request.into_parts();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    let body = body.collect().await.map_err(io::Error::other)?;
    Ok(Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: pairs(parts.uri.query().unwrap_or("")),
        headers: parts.headers.iter().map(header).collect(),
        body: body.to_bytes().to_vec(),
    })
}

/// The pairs of a query or a form body, decoded.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn head(reply: &Reply) -> hyper::http::response::Builder {
    let builder = Response::builder().status(reply.status);
    let add = |builder: hyper::http::response::Builder, (name, value): &(String, String)| {
        builder.header(name, value)
    };
    reply.headers.iter().fold(builder, add)
}

fn whole(reply: Reply) -> io::Result<Response<Body>> {
    let builder = head(&reply);
    let body = Full::new(Bytes::from(reply.body)).boxed_unsync();
    builder.body(body).map_err(io::Error::other)
}

fn slow(reply: Reply) -> io::Result<Response<Body>> {
    let builder = head(&reply);
    let bytes = stream::unfold(reply.body.into_iter(), |mut rest| async {
        let byte = rest.next()?;
        tokio::time::sleep(SLOW_PAUSE).await;
        let frame = Frame::data(Bytes::from(vec![byte]));
        Some((Ok::<_, Infallible>(frame), rest))
    });
    builder
        .body(BodyExt::boxed_unsync(StreamBody::new(bytes)))
        .map_err(io::Error::other)
}

/// The contents of a mutex, even if a holder panicked: stand-ins hold nothing precious.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
