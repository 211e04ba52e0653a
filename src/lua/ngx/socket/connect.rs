//! Opening connections: `connect`, `sslhandshake` and `setkeepalive`.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, MultiValue, Table, UserData, Value};
use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::args::{Args, type_of, waiter};
use super::conn::{Busy, Conn, Failure, Socket, WAIT};
use super::pool::{Pools, Turn};
use super::stream::{Plain, Stream};
use crate::lua::bind::{Answer, Fault};
use crate::lua::network::Net;
use crate::lua::ngx::one;
use crate::lua::owner::Owner;
use crate::tls;

/// What `sslhandshake` returns: TLS sessions are resumed without Lua's help.
struct Session;

impl UserData for Session {}

/// What the third argument of `connect` says about the pool.
#[derive(Default)]
struct Options {
    pool: Option<Rc<str>>,
    size: Option<usize>,
    backlog: Option<usize>,
}

/// `nil` and what went wrong.
pub(super) fn failed(lua: &Lua, why: impl AsRef<str>) -> Answer {
    one(lua, (Value::Nil, why.as_ref()))
}

/// `sock:connect(host, port?, options?)`
pub(super) async fn connect(lua: Lua, args: MultiValue) -> Answer {
    let args = Args::new("connect", args);
    if !(2..=4).contains(&args.len()) {
        let seen = format!("arguments (including the object), but seen {}", args.len());
        return Err(format!("ngx.socket connect: expecting 2, 3, or 4 {seen}").into());
    }
    let socket: Rc<Socket> = args.socket()?;
    let owner = waiter(&lua)?;
    let host = args.text(&lua, 1)?.to_string_lossy();
    if let Some(busy) = socket.busy_with() {
        return failed(&lua, busy);
    }
    if socket.is_anothers(&owner) {
        return Err("bad request".into());
    }
    let is_unix = host.starts_with("unix:");
    let table = args.table(3).or_else(|| args.table(2).filter(|_| is_unix));
    let options = table.map(|table| options(&lua, &args, table)).transpose()?.unwrap_or_default();
    let port = match args.port(&lua, 2)? {
        _ if is_unix => 0,
        Some(Ok(port)) => port,
        Some(Err(bad)) => return failed(&lua, bad),
        None => return failed(&lua, "missing the port number"),
    };
    let empty = match host.as_str() {
        "" => Some("no host"),
        "unix:" => Some("no path in the unix domain socket"),
        _ => None,
    };
    if let Some(empty) = empty {
        return failed(&lua, format!("failed to parse host name \"{host}\": {empty}"));
    }
    drop(socket.take());
    let busy = Busy::new(&socket.is_connecting);
    let opened = open(&lua, &socket, &host, port, options).await;
    drop(busy);
    match opened {
        Ok(conn) => {
            socket.open(conn, &owner);
            one(&lua, 1)
        }
        Err(failure) => failed(&lua, failure.text()),
    }
}

fn options(lua: &Lua, args: &Args, table: &Table) -> Result<Options, Fault> {
    let bad = |name: &str, what: String| args.bad(3, &format!("bad \"{name}\" option {what}"));
    let count = |name: &str, least: f64| -> Result<Option<usize>, Fault> {
        match table.get::<Value>(name)? {
            Value::Nil => Ok(None),
            value => match crate::lua::ngx::number(&value) {
                None => Err(bad(name, format!("type: {}", type_of(&value)))),
                Some(count) if count < least => Err(bad(name, format!("value: {count}"))),
                Some(count) => Ok(Some(count as usize)),
            },
        }
    };
    let backlog = count("backlog", 0.0)?;
    let size = count("pool_size", 1.0)?;
    let pool = match table.get::<Value>("pool")? {
        Value::Nil => None,
        value @ (Value::String(_) | Value::Integer(_) | Value::Number(_)) => {
            lua.coerce_string(value)?.map(|name| name.to_string_lossy().as_str().into())
        }
        value => return Err(bad("pool", format!("type: {}", type_of(&value)))),
    };
    let size = size.or_else(|| backlog.and_then(|_| Net::of(lua)).map(|net| net.pool_size));
    Ok(Options { pool, size, backlog })
}

async fn open(
    lua: &Lua,
    socket: &Socket,
    host: &str,
    port: u16,
    options: Options,
) -> Result<Conn, Failure> {
    let wait = socket.limits.get().connect;
    let net = Net::of(lua).ok_or_else(|| Failure::Told("no network".to_owned()))?;
    let path = host.strip_prefix("unix:");
    let address = match path {
        None => Some(net.address(host, port).await.map_err(Failure::Told)?),
        Some(_) => None,
    };
    let name = || address.map_or_else(|| host.into(), |address| address.to_string().into());
    let name: Rc<str> = options.pool.unwrap_or_else(name);
    let mut seat = None;
    if let Some(pool) = pools(lua)?.pool(&name, options.size, options.backlog) {
        match pool.turn(wait).await? {
            Turn::Kept(conn) => return Ok(*conn),
            Turn::Free(free) => seat = Some(free),
        }
    }
    let dialling = async {
        match (address, path) {
            (Some(address), _) => dial(address, socket.local.get()).await.map(Plain::Tcp),
            (None, path) => UnixStream::connect(path.unwrap_or_default()).await.map(Plain::Unix),
        }
    };
    let plain = tokio::time::timeout(wait, dialling).await.map_err(|_| Failure::Timeout)??;
    Ok(Conn::new(Stream::Plain(plain), name, seat))
}

async fn dial(address: SocketAddr, local: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let stream = match local {
        None => TcpStream::connect(address).await?,
        Some(local) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.bind(SocketAddr::new(local, 0))?;
            socket.connect(address).await?
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn pools(lua: &Lua) -> Result<Rc<Pools>, Failure> {
    let pools = lua.app_data_ref::<Rc<Pools>>().map(|pools| Rc::clone(&pools));
    pools.ok_or_else(|| Failure::Told("no pools".to_owned()))
}

/// A socket and who uses it, or what to answer instead.
pub(super) type Opened = Result<(Rc<Socket>, Rc<Owner>), MultiValue>;

/// The socket of a method that needs an open connection, or what to answer instead.
pub(super) fn opened(lua: &Lua, args: &Args) -> Result<Opened, Fault> {
    let socket: Rc<Socket> = args.socket()?;
    let owner = waiter(lua)?;
    if !socket.is_open() && !socket.is_connecting.get() {
        return Ok(Err(failed(lua, "closed")?));
    }
    if socket.is_anothers(&owner) {
        return Err("bad request".into());
    }
    Ok(Ok((socket, owner)))
}

/// `sock:sslhandshake(session?, server_name?, verify?, ocsp?)`
pub(super) async fn handshake(lua: Lua, args: MultiValue) -> Answer {
    let args = Args::new("sslhandshake", args);
    if args.len() > 5 {
        let seen = format!("arguments (including the object), but seen {}", args.len());
        return Err(format!("ngx.socket sslhandshake: expecting 1 ~ 5 {seen}").into());
    }
    let (socket, owner) = match opened(&lua, &args)? {
        Ok(opened) => opened,
        Err(answer) => return Ok(answer),
    };
    if let Some(busy) = socket.busy_with() {
        return failed(&lua, busy);
    }
    let name = match args.get(2) {
        Value::Nil => None,
        _ => Some(args.text(&lua, 2)?.to_string_lossy()),
    };
    let verify = !matches!(args.get(3), Value::Nil | Value::Boolean(false));
    let busy = Busy::new(&socket.is_connecting);
    let shaken = match socket.take() {
        Some(conn) => encrypted(&lua, &socket, conn, name.as_deref(), verify).await,
        None => Err(Failure::Closed),
    };
    drop(busy);
    match shaken {
        Err(failure) => failed(&lua, failure.text()),
        Ok(conn) => {
            socket.open(conn, &owner);
            match args.get(1) {
                Value::Boolean(false) => one(&lua, true),
                _ => one(&lua, lua.create_userdata(Session)?),
            }
        }
    }
}

async fn encrypted(
    lua: &Lua,
    socket: &Socket,
    mut conn: Conn,
    name: Option<&str>,
    verify: bool,
) -> Result<Conn, Failure> {
    let plain = match conn.stream {
        Stream::Tls(_) => return Ok(conn),
        Stream::Plain(plain) => plain,
    };
    let told = |what: &str| Failure::Told(what.to_owned());
    let net = Net::of(lua).ok_or_else(|| told("no network"))?;
    let shown = socket.shown.borrow().clone();
    let config = net.tls_config(verify, name.is_none(), shown);
    let config = config.map_err(|error| Failure::Told(error.to_string()))?;
    // An address is no name that could be told to the peer, so it stands for none.
    let nobody = || ServerName::from(IpAddr::from([0, 0, 0, 0]));
    let name = match name.map(|name| ServerName::try_from(name.to_owned())) {
        Some(Ok(name)) => name,
        Some(Err(_)) if verify => return Err(told("certificate host mismatch")),
        Some(Err(_)) | None => nobody(),
    };
    let shaking = TlsConnector::from(config).connect(name, plain);
    match tokio::time::timeout(socket.limits.get().connect, shaking).await {
        Err(_) => Err(Failure::Timeout),
        Ok(Err(error)) => {
            tracing::debug!(fault = "plugin", "TLS of a Lua socket: {error}");
            Err(told(tls::words(&error)))
        }
        Ok(Ok(stream)) => {
            conn.stream = Stream::Tls(Box::new(stream));
            Ok(conn)
        }
    }
}

/// `sock:setkeepalive(timeout_ms?, size?)`
pub(super) fn setkeepalive(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("setkeepalive", args);
    if args.len() > 3 {
        let got = format!("(including the object), but got {}", args.len());
        return Err(format!("expecting 1 to 3 arguments {got}").into());
    }
    let number = |n: usize| -> Result<Option<f64>, Fault> {
        let found = args.number(lua, n)?;
        match args.get(n) {
            Value::Nil => Ok(None),
            _ if found.is_some() => Ok(found),
            other => Err(args.bad(n, &format!("number expected, got {}", type_of(other)))),
        }
    };
    let (idle, size) = (number(1)?, number(2)?);
    if let Some(size) = size.filter(|size| *size < 1.0) {
        return Err(args.bad(2, &format!("bad \"pool_size\" option value: {size}")));
    }
    let socket = match opened(lua, &args)? {
        Ok((socket, _)) => socket,
        Err(answer) => return Ok(answer),
    };
    if let Some(busy) = socket.busy_with() {
        return failed(lua, busy);
    }
    let usable = match socket.conn.borrow_mut().as_mut() {
        Some(conn) => conn.is_idle(),
        None => Err("closed"),
    };
    if let Err(why) = usable {
        return failed(lua, why);
    }
    let idle = match idle {
        None => Some(WAIT),
        Some(ms) if ms <= 0.0 => None,
        Some(ms) => Some(Duration::from_millis(ms as u64)),
    };
    let default = Net::of(lua).map_or(1, |net| net.pool_size);
    let size = size.map_or(default, |size| size as usize);
    if let (Some(conn), Ok(pools)) = (socket.take(), pools(lua))
        && let Some(pool) = pools.pool(&conn.pool.clone(), Some(size), None)
    {
        pool.keep(conn, idle);
    }
    one(lua, 1)
}
