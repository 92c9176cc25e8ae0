//! A server that answers as told and remembers what it was asked: the far end of a sender.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const ACCEPTED: &str = "HTTP/1.1 202 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What the stand-in does with a request.
#[derive(Clone)]
pub enum Reply {
    Status(u16, &'static str),
    /// Takes the request and stays silent.
    Never,
    /// Takes the request and cuts the connection.
    HangUp,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    replies: Mutex<VecDeque<Reply>>,
    stopped: AtomicBool,
    /// Connections kept open by [`Reply::Never`].
    silent: Mutex<Vec<TcpStream>>,
}

pub struct StandIn {
    pub port: u16,
    address: &'static str,
    shared: Arc<Shared>,
}

impl StandIn {
    /// Answers with `replies` in order, then 202 for ever.
    pub fn start(replies: &[Reply]) -> StandIn {
        StandIn::on("127.0.0.1", replies).unwrap()
    }

    /// The same on another address; `None` if this machine does not have it.
    pub fn on(address: &'static str, replies: &[Reply]) -> Option<StandIn> {
        let listener = TcpListener::bind((address, 0)).ok()?;
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        shared.replies.lock().unwrap().extend(replies.to_vec());
        let seen = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if seen.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let seen = seen.clone();
                std::thread::spawn(move || serve(stream, &seen));
            }
        });
        Some(StandIn {
            port,
            address,
            shared,
        })
    }

    /// Over TLS, with the certificate and key in these PEM files.
    pub fn tls(certificate: &str, key: &str) -> StandIn {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        let shared = Arc::new(Shared::default());
        let front = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = front.local_addr().unwrap().port();
        let (config, seen) = (Arc::new(config), shared.clone());
        std::thread::spawn(move || {
            for stream in front.incoming().flatten() {
                if seen.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
                let Some(request) = read_request(&mut stream) else {
                    continue;
                };
                seen.requests.lock().unwrap().push(request);
                let _ = stream.get_mut().write_all(ACCEPTED.as_bytes());
                let _ = stream.get_mut().flush();
            }
        });
        StandIn {
            port,
            address: "127.0.0.1",
            shared,
        }
    }

    /// As a sender on this host names it.
    pub fn url(&self) -> String {
        match self.address.contains(':') {
            true => format!("http://[{}]:{}", self.address, self.port),
            false => format!("http://{}:{}", self.address, self.port),
        }
    }

    /// A name for it that is not a loopback name, so that a sender takes it for another host.
    pub fn remote_url(&self) -> String {
        format!("http://0.0.0.0:{}", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The only request there was.
    pub fn only(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener up, so that it ends and frees its port.
        let _ = TcpStream::connect((self.address, self.port));
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader) {
        shared.requests.lock().unwrap().push(request);
        let next = shared.replies.lock().unwrap().pop_front();
        match next.unwrap_or(Reply::Status(202, r#"{"ids":["alert/1"]}"#)) {
            Reply::Status(status, body) => {
                let length = body.len();
                let _ = write!(
                    writer,
                    "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}"
                );
            }
            Reply::Never => shared
                .silent
                .lock()
                .unwrap()
                .push(writer.try_clone().unwrap()),
            Reply::HangUp => return,
        }
    }
}

fn read_request<S: Read + Write>(reader: &mut BufReader<S>) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    if headers.contains_key("expect") {
        let continued = b"HTTP/1.1 100 Continue\r\n\r\n";
        reader.get_mut().write_all(continued).ok()?;
    }
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line: line.trim_end().to_owned(),
        headers,
        body,
    })
}
