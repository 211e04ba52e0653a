//! What is set on a socket: options of the system, the own address, and the own certificate.

use std::net::IpAddr;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Value};
use socket2::SockRef;

use super::args::{Args, type_of};
use super::conn::Socket;
use super::connect::{failed, opened};
use crate::lua::bind::Answer;
use crate::lua::ngx::{one, ssl};
use crate::tls;

const NAMES: [&str; 5] = ["keepalive", "reuseaddr", "tcp-nodelay", "sndbuf", "rcvbuf"];

/// `sock:setoption(name, value)`
pub(super) fn set(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("setoption", args);
    let Value::String(name) = args.get(1) else {
        return failed(lua, "missing the \"option\" argument");
    };
    let name = name.to_string_lossy();
    if !NAMES.contains(&name.as_str()) {
        return failed(lua, format!("unsupported option {name}"));
    }
    let number = match args.get(2) {
        Value::Nil => return failed(lua, "missing the \"value\" argument"),
        Value::Boolean(flag) => f64::from(u8::from(*flag)),
        _ => args.number(lua, 2)?.unwrap_or_default(),
    };
    on_system(lua, &args, |socket| {
        let (flag, size) = (number != 0.0, number.max(0.0) as usize);
        match name.as_str() {
            "keepalive" => socket.set_keepalive(flag),
            "reuseaddr" => socket.set_reuse_address(flag),
            "tcp-nodelay" => socket.set_tcp_nodelay(flag),
            "sndbuf" => socket.set_send_buffer_size(size),
            _ => socket.set_recv_buffer_size(size),
        }
        .map(|()| Value::Boolean(true))
    })
}

/// `sock:getoption(name)`: a number; 1 and 0 stand for on and off.
pub(super) fn get(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("getoption", args);
    let Value::String(name) = args.get(1) else {
        return failed(lua, "missing the \"option\" argument");
    };
    let name = name.to_string_lossy();
    if !NAMES.contains(&name.as_str()) {
        return failed(lua, format!("unsupported option {name}"));
    }
    on_system(lua, &args, |socket| {
        let number = match name.as_str() {
            "keepalive" => usize::from(socket.keepalive()?),
            "reuseaddr" => usize::from(socket.reuse_address()?),
            "tcp-nodelay" => usize::from(socket.tcp_nodelay()?),
            "sndbuf" => socket.send_buffer_size()?,
            _ => socket.recv_buffer_size()?,
        };
        Ok(Value::Number(number as f64))
    })
}

fn on_system(
    lua: &Lua,
    args: &Args,
    act: impl FnOnce(SockRef<'_>) -> std::io::Result<Value>,
) -> Answer {
    let socket = match opened(lua, args)? {
        Ok((socket, _)) => socket,
        Err(answer) => return Ok(answer),
    };
    let done = socket.conn.borrow().as_ref().map(|conn| act(conn.stream.socket()));
    match done {
        Some(Ok(value)) => one(lua, value),
        Some(Err(error)) => failed(lua, super::Failure::Io(error).text()),
        None => failed(lua, "closed"),
    }
}

/// `sock:bind(address)`: where connections come from.
pub(super) fn bind(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("bind", args);
    let socket: Rc<Socket> = args.socket()?;
    match args.text(lua, 1)?.to_string_lossy().parse::<IpAddr>() {
        Ok(address) => {
            socket.local.set(Some(address));
            one(lua, true)
        }
        Err(_) => failed(lua, "bad address"),
    }
}

/// `sock:setclientcert(chain, key)`, as `ngx.ssl` reads them; nothing takes them away again.
pub(super) fn setclientcert(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("setclientcert", args);
    let socket: Rc<Socket> = args.socket()?;
    let (chain, key) = (args.get(1), args.get(2));
    if chain.is_nil() && key.is_nil() {
        *socket.shown.borrow_mut() = None;
        return one(lua, true);
    }
    let missing = |what: &str, with: &str| {
        failed(lua, format!("client {what} must be supplied with corresponding {with}"))
    };
    if chain.is_nil() {
        return missing("private key", "certificate");
    }
    if key.is_nil() {
        return missing("certificate", "private key");
    }
    let Some(chain) = ssl::chain(chain) else {
        return failed(lua, format!("bad cert arg: cdata expected, got {}", type_of(chain)));
    };
    let Some(key) = ssl::key(key) else {
        return failed(lua, format!("bad pkey arg: cdata expected, got {}", type_of(key)));
    };
    match tls::pair(chain, key) {
        Ok(pair) => {
            *socket.shown.borrow_mut() = Some(pair);
            one(lua, true)
        }
        Err(error) => failed(lua, error.to_string()),
    }
}
