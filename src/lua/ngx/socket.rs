//! `ngx.socket`: connections that Lua code opens for itself, over TCP, Unix sockets and UDP.
//!
//! They wait as `ngx.sleep` does. Reading and writing may go on at the same time, in two light
//! threads; anything else has to wait for both. Texts and results are OpenResty's.

mod args;
mod conn;
mod connect;
mod options;
mod pool;
mod receive;
mod stream;
mod udp;

use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, Lua, MultiValue, Table, Value};
use tokio::net::UnixStream;

use super::one;
use crate::lua::bind::{self, Answer, Fault};
pub(in crate::lua) use args::waiter;
use args::{Args, object, type_of};
use conn::{Conn, Failure, Limits, Socket, WAIT};
use connect::{connect, failed, handshake, opened, setkeepalive};
use pool::Pools;
use receive::{Until, Wanted};
use stream::{Plain, Stream};

/// The registry's name for the metatable of TCP sockets.
const TCP: &str = "silverback.tcp";

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    lua.set_app_data(Rc::<Pools>::default());
    let methods = lua.create_table()?;
    methods.set("connect", bind::waiting(lua, connect)?)?;
    methods.set("sslhandshake", bind::waiting(lua, handshake)?)?;
    methods.set("send", bind::waiting(lua, send)?)?;
    methods.set("receive", bind::waiting(lua, receive)?)?;
    methods.set("receiveany", bind::waiting(lua, receiveany)?)?;
    methods.set("receiveuntil", bind::function(lua, receiveuntil)?)?;
    methods.set("setkeepalive", bind::function(lua, setkeepalive)?)?;
    methods.set("getreusedtimes", bind::function(lua, getreusedtimes)?)?;
    methods.set("close", bind::function(lua, close)?)?;
    methods.set("settimeout", bind::function(lua, settimeout)?)?;
    methods.set("settimeouts", bind::function(lua, settimeouts)?)?;
    methods.set("setoption", bind::function(lua, options::set)?)?;
    methods.set("getoption", bind::function(lua, options::get)?)?;
    methods.set("setclientcert", bind::function(lua, options::setclientcert)?)?;
    methods.set("bind", bind::function(lua, options::bind)?)?;
    let meta = lua.create_table()?;
    meta.set("__index", methods)?;
    lua.set_named_registry_value(TCP, meta)?;
    let socket = lua.create_table()?;
    let tcp = bind::function(lua, tcp)?;
    socket.set("tcp", &tcp)?;
    socket.set("stream", &tcp)?;
    socket.set("connect", shortcut(lua, &tcp)?)?;
    socket.set("udp", udp::install(lua)?)?;
    ngx.set("socket", socket)
}

/// `ngx.socket.connect`: a new socket that is connected already. A user may have put another
/// function in place of `connect`, so it is looked up.
fn shortcut(lua: &Lua, tcp: &Function) -> mlua::Result<Function> {
    let code = "local tcp = ...
        return function(...)
          local sock = tcp()
          local ok, err = sock:connect(...)
          if not ok then return nil, err end
          return sock
        end";
    lua.load(code).set_name("=socket").call(tcp)
}

fn tcp(lua: &Lua, args: MultiValue) -> Answer {
    args::none(&args)?;
    waiter(lua)?;
    object(lua, TCP, Rc::<Socket>::default())
}

/// `ngx.req.socket`: the body of a request as a socket that its peer has closed.
pub(super) fn of_body(lua: &Lua, body: &[u8]) -> Answer {
    let owner = waiter(lua)?;
    let Ok((stream, _)) = UnixStream::pair() else { return failed(lua, "no memory") };
    let mut conn = Conn::new(Stream::Plain(Plain::Unix(stream)), "".into(), None);
    conn.buffer.extend_from_slice(body);
    let socket = Rc::<Socket>::default();
    socket.open(conn, &owner);
    object(lua, TCP, socket)
}

/// `sock:send(data)`: how many bytes went out.
async fn send(lua: Lua, args: MultiValue) -> Answer {
    let args = Args::new("send", args);
    args.expect(2)?;
    let socket: Rc<Socket> = args.socket()?;
    let owner = waiter(&lua)?;
    if socket.is_anothers(&owner) {
        return Err("bad request".into());
    }
    if socket.is_connecting.get() {
        return failed(&lua, "socket busy connecting");
    }
    if socket.is_writing.get() {
        return failed(&lua, "socket busy writing");
    }
    if !socket.can_send() {
        return failed(&lua, "closed");
    }
    let data = args.data(&lua, 1)?;
    match socket.send(&data).await {
        Ok(()) => one(&lua, data.len()),
        Err(failure) => failed(&lua, failure.text()),
    }
}

/// What a reading method must find: a connection that nobody else reads from.
fn readable(lua: &Lua, socket: &Socket) -> Result<Option<MultiValue>, Fault> {
    let owner = waiter(lua)?;
    if socket.is_anothers(&owner) {
        return Err("bad request".into());
    }
    let refused = match () {
        () if socket.is_connecting.get() => "socket busy connecting",
        () if socket.is_reading.get() => "socket busy reading",
        () if !socket.can_read() => "closed",
        () => return Ok(None),
    };
    failed(lua, refused).map(Some)
}

fn got(lua: &Lua, got: Result<Option<Vec<u8>>, (Failure, Vec<u8>)>) -> Answer {
    match got {
        Ok(Some(data)) => one(lua, lua.create_string(data)?),
        Ok(None) => one(lua, (Value::Nil, Value::Nil, Value::Nil)),
        Err((failure, partial)) => {
            one(lua, (Value::Nil, failure.text(), lua.create_string(partial)?))
        }
    }
}

/// `sock:receive(size_or_pattern?)`
async fn receive(lua: Lua, args: MultiValue) -> Answer {
    let args = Args::new("receive", args);
    if args.len() > 2 || args.len() == 0 {
        let got = format!("(including the object), but got {}", args.len());
        return Err(format!("expecting 1 or 2 arguments {got}").into());
    }
    let socket: Rc<Socket> = args.socket()?;
    let wanted = match args.get(1) {
        Value::Nil if args.len() == 1 => Wanted::Line,
        Value::String(pattern) if pattern.as_bytes() == *b"*l" => Wanted::Line,
        Value::String(pattern) if pattern.as_bytes() == *b"*a" => Wanted::All,
        Value::String(pattern) if args.number(&lua, 1)?.is_none() => {
            let pattern = pattern.to_string_lossy();
            let told = if pattern.starts_with('*') { "" } else { ": " };
            let shown = if told.is_empty() { "" } else { pattern.as_str() };
            return Err(args.bad(1, &format!("bad pattern argument{told}{shown}")));
        }
        _ => match args.number(&lua, 1)?.filter(|count| *count >= 0.0) {
            Some(count) => Wanted::Exactly(count as usize),
            None => return Err(args.bad(1, "bad pattern argument")),
        },
    };
    if let Some(refused) = readable(&lua, &socket)? {
        return Ok(refused);
    }
    let found = socket.receive(wanted).await;
    got(&lua, found.map(Some))
}

/// `sock:receiveany(max)`
async fn receiveany(lua: Lua, args: MultiValue) -> Answer {
    let args = Args::new("receiveany", args);
    args.expect(2)?;
    let socket: Rc<Socket> = args.socket()?;
    let most = args.number(&lua, 1)?.filter(|most| *most >= 1.0);
    let most = most.ok_or_else(|| args.bad(1, "bad max argument"))?;
    if let Some(refused) = readable(&lua, &socket)? {
        return Ok(refused);
    }
    let found = socket.receive(Wanted::Any(most as usize)).await;
    got(&lua, found.map(Some))
}

/// `sock:receiveuntil(pattern, options?)`: a function that reads up to the pattern.
fn receiveuntil(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("receiveuntil", args);
    if !(2..=3).contains(&args.len()) {
        let got = format!("(including the object), but got {}", args.len());
        return Err(format!("expecting 2 or 3 arguments {got}").into());
    }
    let socket: Rc<Socket> = args.socket()?;
    let pattern = args.text(lua, 1)?;
    let is_inclusive = match (args.len(), args.get(2)) {
        (3, Value::Table(options)) => match options.get::<Value>("inclusive")? {
            Value::Nil => false,
            Value::Boolean(flag) => flag,
            other => {
                let kind = type_of(&other);
                return Err(format!("bad \"inclusive\" option value type: {kind}").into());
            }
        },
        (3, other) => {
            return Err(args.bad(2, &format!("table expected, got {}", type_of(other))));
        }
        _ => false,
    };
    if pattern.as_bytes().is_empty() {
        return failed(lua, "pattern is empty");
    }
    let until = Rc::new(Until::new(&pattern.as_bytes(), is_inclusive));
    let read = bind::waiting(lua, move |lua, args| {
        let (socket, until) = (socket.clone(), until.clone());
        async move { read_until(&lua, &socket, &until, args).await }
    })?;
    one(lua, read)
}

async fn read_until(lua: &Lua, socket: &Socket, until: &Until, args: MultiValue) -> Answer {
    let size = match args.front() {
        None | Some(Value::Nil) => None,
        Some(value) => {
            let number = lua.coerce_number(value.clone())?;
            let kind = type_of(value);
            let wrong = format!("bad argument #1 to '?' (number expected, got {kind})");
            Some(number.ok_or_else(|| Fault::from(wrong))?)
        }
    };
    if let Some(refused) = readable(lua, socket)? {
        return Ok(refused);
    }
    let size = size.filter(|size| *size >= 1.0).map(|size| size as usize);
    got(lua, until.read(socket, size).await)
}

fn getreusedtimes(lua: &Lua, args: MultiValue) -> Answer {
    let socket: Rc<Socket> = Args::new("getreusedtimes", args).socket()?;
    let reused = socket.conn.borrow().as_ref().map(|conn| conn.reused);
    match reused {
        Some(reused) => one(lua, reused),
        None => failed(lua, "closed"),
    }
}

fn close(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("close", args);
    let socket = match opened(lua, &args)? {
        Ok((socket, _)) => socket,
        Err(answer) => return Ok(answer),
    };
    if let Some(busy) = socket.busy_with() {
        return failed(lua, busy);
    }
    drop(socket.take());
    one(lua, 1)
}

/// Milliseconds; what is no number, or 0, is OpenResty's default.
fn wait_of(lua: &Lua, args: &Args, n: usize) -> Result<Duration, Fault> {
    let ms = args.number(lua, n)?.unwrap_or_default();
    if !(0.0..f64::from(i32::MAX)).contains(&ms) {
        return Err("bad timeout value".into());
    }
    Ok(if ms < 1.0 { WAIT } else { Duration::from_millis(ms as u64) })
}

fn seen(args: &Args, expected: usize) -> Result<(), Fault> {
    if args.len() == expected {
        return Ok(());
    }
    let seen = format!("(including the object) but seen {}", args.len());
    Err(format!("ngx.socket settimeout: expecting {expected} arguments {seen}").into())
}

fn settimeout(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("settimeout", args);
    seen(&args, 2)?;
    let socket: Rc<Socket> = args.socket()?;
    let wait = wait_of(lua, &args, 1)?;
    socket.limits.set(Limits { connect: wait, send: wait, read: wait });
    one(lua, ())
}

fn settimeouts(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("settimeouts", args);
    seen(&args, 4)?;
    let socket: Rc<Socket> = args.socket()?;
    socket.limits.set(Limits {
        connect: wait_of(lua, &args, 1)?,
        send: wait_of(lua, &args, 2)?,
        read: wait_of(lua, &args, 3)?,
    });
    one(lua, ())
}
