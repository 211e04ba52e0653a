//! Small servers for specs: what `helpers.tcp_server` and the like stand on.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{BString, Lua, Table, UserData, UserDataMethods, Value};
use rustls::ServerConfig;
use tokio::io::BufReader;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// The longest line, body or packet that is read.
const LIMIT: u64 = 64 << 20;

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Adds `listen_tcp(port)` and `listen_udp(port)`.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let tcp = lua.create_async_function(|_, port: u16| async move {
        let listener =
            TcpListener::bind(("127.0.0.1", port)).await.map_err(mlua::Error::external)?;
        Ok(Server(Open::new(listener)))
    })?;
    host.set("listen_tcp", tcp)?;
    let udp = lua.create_async_function(|_, port: u16| async move {
        let socket = UdpSocket::bind(("127.0.0.1", port)).await.map_err(mlua::Error::external)?;
        Ok(Udp(Open::new(socket)))
    })?;
    host.set("listen_udp", udp)
}

/// Waits for something at most so many seconds; `None` when they are over.
async fn within<T>(seconds: f64, work: impl Future<Output = T>) -> Option<T> {
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    tokio::time::timeout(limit, work).await.ok()
}

/// A socket until it is closed, which ends what waits for it.
struct Open<T> {
    socket: RefCell<Option<Rc<T>>>,
    closed: Notify,
}

impl<T> Open<T> {
    fn new(socket: T) -> Rc<Self> {
        Rc::new(Self { socket: RefCell::new(Some(Rc::new(socket))), closed: Notify::new() })
    }

    fn close(&self) {
        self.socket.borrow_mut().take();
        self.closed.notify_waiters();
    }

    /// What the socket gives within so many seconds, or Lua's word for why there is nothing.
    async fn wait<R>(
        &self,
        seconds: f64,
        work: impl AsyncFnOnce(&T) -> std::io::Result<R>,
    ) -> Result<R, String> {
        let socket = self.socket.borrow().clone();
        let Some(socket) = socket else { return Err("closed".to_owned()) };
        tokio::select! {
            done = within(seconds, work(&socket)) => match done {
                Some(Ok(result)) => Ok(result),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("timeout".to_owned()),
            },
            () = self.closed.notified() => Err("closed".to_owned()),
        }
    }
}

/// A TCP listener.
struct Server(Rc<Open<TcpListener>>);

impl UserData for Server {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("accept", |_, server, seconds: f64| async move {
            let open = server.0.clone();
            drop(server);
            Ok(match open.wait(seconds, async |listener| listener.accept().await).await {
                Ok((stream, _)) => (Some(Connection::new(stream)), None),
                Err(why) => (None, Some(why)),
            })
        });
        methods.add_method("close", |_, server, ()| {
            server.0.close();
            Ok(())
        });
    }
}

/// A stream that is read line by line; `None` once it is closed.
type Lines = Option<BufReader<Box<dyn Stream>>>;

/// A connection that was accepted.
struct Connection(Rc<tokio::sync::Mutex<Lines>>);

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self(Rc::new(tokio::sync::Mutex::new(Some(BufReader::new(Box::new(stream))))))
    }
}

impl UserData for Connection {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // `*l`, `*a` or a number of bytes, as luasocket has it.
        methods.add_async_method(
            "receive",
            |_, connection, (what, seconds): (Value, f64)| async move {
                let mut stream = connection.0.lock().await;
                let Some(stream) = stream.as_mut() else {
                    return Ok((None, Some("closed".to_owned())));
                };
                Ok(match within(seconds, receive(stream, &what)).await {
                    Some(Ok(Some(bytes))) => (Some(BString::from(bytes)), None),
                    Some(Ok(None)) => (None, Some("closed".to_owned())),
                    Some(Err(error)) => (None, Some(error.to_string())),
                    None => (None, Some("timeout".to_owned())),
                })
            },
        );
        methods.add_async_method("send", |_, connection, bytes: BString| async move {
            let mut stream = connection.0.lock().await;
            let Some(stream) = stream.as_mut() else {
                return Ok((None, Some("closed".to_owned())));
            };
            let sent = async {
                stream.write_all(&bytes).await?;
                stream.flush().await
            };
            Ok(match sent.await {
                Ok(()) => (Some(bytes.len()), None),
                Err(error) => (None, Some(error.to_string())),
            })
        });
        methods.add_async_method("starttls", |_, connection, ()| async move {
            let mut stream = connection.0.lock().await;
            let Some(plain) = stream.take() else { return Ok(false) };
            let acceptor = TlsAcceptor::from(self_signed().map_err(mlua::Error::external)?);
            let Ok(encrypted) = acceptor.accept(plain).await else { return Ok(false) };
            *stream = Some(BufReader::new(Box::new(encrypted)));
            Ok(true)
        });
        methods.add_async_method("close", |_, connection, ()| async move {
            if let Some(mut stream) = connection.0.lock().await.take() {
                let _ = stream.shutdown().await;
            }
            Ok(())
        });
    }
}

async fn receive(
    stream: &mut BufReader<Box<dyn Stream>>,
    what: &Value,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match what {
        Value::Integer(count) => {
            bytes.resize((*count).clamp(0, LIMIT as i64) as usize, 0);
            stream.read_exact(&mut bytes).await?;
        }
        Value::String(all) if all == "*a" => {
            stream.take(LIMIT).read_to_end(&mut bytes).await?;
        }
        _ => {
            if stream.take(LIMIT).read_until(b'\n', &mut bytes).await? == 0 {
                return Ok(None);
            }
            bytes.retain(|byte| !matches!(byte, b'\r' | b'\n'));
        }
    }
    Ok(Some(bytes))
}

fn self_signed() -> Result<Arc<ServerConfig>, Box<dyn std::error::Error + Send + Sync>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    Ok(Arc::new(config))
}

/// A UDP socket.
struct Udp(Rc<Open<UdpSocket>>);

impl UserData for Udp {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("receive", |_, udp, seconds: f64| async move {
            let open = udp.0.clone();
            drop(udp);
            let mut packet = vec![0; 64 << 10];
            let got = open.wait(seconds, async |socket| socket.recv_from(&mut packet).await).await;
            Ok(match got {
                Ok((length, _)) => {
                    packet.truncate(length);
                    (Some(BString::from(packet)), None)
                }
                Err(why) => (None, Some(why)),
            })
        });
        methods.add_method("close", |_, udp, ()| {
            udp.0.close();
            Ok(())
        });
    }
}
