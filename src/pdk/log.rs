//! The log record of an exchange (`kong.log.serialize`), field for field as Kong writes it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::{Exchange, Source};

/// Values that plugins add to the record (`kong.log.set_serialize_value`).
#[derive(Default)]
pub struct Extra {
    values: RefCell<Vec<Extension>>,
    wanted: Cell<bool>,
    secret_args: RefCell<Vec<String>>,
    client_verify: RefCell<Option<String>>,
}

impl Extra {
    /// What is said of the client's certificate (`kong.client.tls.set_client_verify`).
    pub fn set_client_verify(&self, verify: String) {
        *self.client_verify.borrow_mut() = Some(verify);
    }

    /// Whether somebody will read the record; values that cost something are made only then.
    pub fn is_wanted(&self) -> bool {
        self.wanted.get()
    }

    /// Says that somebody will.
    pub fn want(&self) {
        self.wanted.set(true);
    }

    /// Says that the query argument of this name holds a credential, whoever gave it: no log shows
    /// its value.
    pub fn hide_arg(&self, name: &str) {
        let mut names = self.secret_args.borrow_mut();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    /// A request target, or a query after its `?`, without the values of such arguments.
    pub fn masked<'t>(&self, target: &'t str) -> Cow<'t, str> {
        let names = self.secret_args.borrow();
        match target.split_once('?') {
            Some((path, query)) if !names.is_empty() => {
                let shown = |argument: &str| match argument.split_once('=') {
                    Some((name, _)) if names.contains(&decoded(name)) => format!("{name}=***"),
                    _ => argument.to_owned(),
                };
                let shown: Vec<String> = query.split('&').map(shown).collect();
                Cow::Owned(format!("{path}?{}", shown.join("&")))
            }
            _ => Cow::Borrowed(target),
        }
    }

    /// Puts a value at a dotted path, such as `ai.proxy.usage`. `\.` is a dot inside a name.
    pub fn set(&self, path: &str, value: Value) {
        self.put(path, Some(value), Mode::Set);
    }

    /// The same for a value that is made when somebody reads the record: what is wanted is often
    /// not read. It must not change any more.
    pub fn set_later(&self, path: &'static str, make: impl Fn() -> Value + 'static) {
        self.push(Extension {
            path: path.into(),
            value: Told::Later(Box::new(make)),
            mode: Mode::Set,
        });
    }

    /// The same, under a condition; `None` takes the field out. What is more than
    /// [`EXTENSIONS`] is left out.
    pub fn put(&self, path: &str, value: Option<Value>, mode: Mode) {
        self.push(Extension { path: path.to_owned().into(), value: Told::Known(value), mode });
    }

    fn push(&self, extension: Extension) {
        let mut values = self.values.borrow_mut();
        if values.len() < EXTENSIONS {
            values.push(extension);
        }
    }
}

/// The most values that plugins may add to one record.
const EXTENSIONS: usize = 10_000;

/// When a value is put into the record (`kong.log.set_serialize_value`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In any case.
    Set,
    /// If the field is not there.
    Add,
    /// If the field is there.
    Replace,
}

struct Extension {
    path: Cow<'static, str>,
    value: Told,
    mode: Mode,
}

/// A value, or what makes it.
enum Told {
    Known(Option<Value>),
    Later(Box<dyn Fn() -> Value>),
}

impl Told {
    fn value(&self) -> Option<Value> {
        match self {
            Self::Known(value) => value.clone(),
            Self::Later(make) => Some(make()),
        }
    }
}

/// Workspace of a gateway without workspaces (Kong DB-less).
pub const WORKSPACE: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";

/// The record that log plugins write.
///
/// Kong masks `authorization` and `proxy-authorization`. We also mask the key headers of model
/// providers and of metadata endpoints, whoever sent them, and every value that was marked
/// sensitive when it was set, which is every credential the gateway adds.
pub fn serialize(ex: &Exchange) -> Value {
    let mut record = bare(ex);
    for Extension { path, value, mode } in ex.log.values.borrow().iter() {
        // What has no place in it is left out.
        let _ = insert(&mut record, path, value.value(), *mode);
    }
    record
}

/// The same for whoever can be told of a value that has no place in it.
///
/// # Errors
/// Kong's text.
pub fn checked(ex: &Exchange) -> Result<Value, String> {
    let mut record = bare(ex);
    for Extension { path, value, mode } in ex.log.values.borrow().iter() {
        insert(&mut record, path, value.value(), *mode)?;
    }
    Ok(record)
}

/// The record without what plugins add.
fn bare(ex: &Exchange) -> Value {
    let mut record = Map::new();
    record.insert("request".into(), request(ex));
    record.insert("response".into(), response(ex));
    record.insert("latencies".into(), latencies(ex));
    record.insert("client_ip".into(), ex.request.connection.client.ip().to_string().into());
    record.insert("started_at".into(), ex.times.started_at_ms.get().into());
    record.insert("upstream_uri".into(), upstream_uri(ex).into());
    record.insert("upstream_status".into(), upstream_status(ex));
    let source = if ex.response.source() == Source::Service { "upstream" } else { "kong" };
    record.insert("source".into(), source.into());
    record.insert("workspace".into(), WORKSPACE.into());
    record.insert("workspace_name".into(), "default".into());
    if let Some(matched) = ex.matched() {
        record.insert("tries".into(), tries(ex));
        record.insert("route".into(), (*matched.route.json).clone());
        if let Some(service) = &matched.service {
            record.insert("service".into(), (*service.json).clone());
        }
    }
    if let Some(consumer) = ex.client.consumer() {
        record.insert("consumer".into(), (*consumer.json).clone());
    }
    if let Some(credential) = ex.client.credential() {
        let id = credential.id.map(|id| ("id".to_owned(), id.to_string().into()));
        let entity = Value::Object(id.into_iter().collect());
        // Kong's credential entities name their consumer in a record of its own, not here.
        record.insert("authenticated_entity".into(), entity);
    }
    Value::Object(record)
}

fn request(ex: &Exchange) -> Value {
    let request = &ex.request;
    let query = ex.service.query().or_else(|| request.raw_query().map(str::to_owned));
    let headers = request.headers();
    let uri = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let uri = ex.log.masked(uri);
    let query = query.map(|query| ex.log.masked(&format!("?{query}")).into_owned());
    let host = request.host_or_kong();
    let mut shown = json!({
        "id": ex.id.as_str(),
        "method": request.method.as_str(),
        "uri": uri,
        "url": format!("{}://{host}:{}{uri}", request.scheme(), request.connection.port),
        "querystring": query_args(query.as_deref().unwrap_or_default().trim_start_matches('?')),
        "headers": header_map(&headers),
        "size": request_size(ex),
    });
    if let Some(session) = request.connection.session {
        let (version, cipher) = (session.version, session.cipher);
        let found = request.connection.shown.as_ref().map_or("NONE", |shown| &shown.verify);
        let said = ex.log.client_verify.borrow();
        let verify = said.as_deref().unwrap_or(found);
        shown["tls"] = json!({"version": version, "cipher": cipher, "client_verify": verify});
    }
    shown
}

/// The status of every attempt, as nginx lists them. Of an answer that was read whole, which those
/// of models are, Kong knows a number.
fn upstream_status(ex: &Exchange) -> Value {
    let answered = ex.service.status.get().map(|status| status.as_u16());
    let whole = ex.response.held_body().is_some() || ex.service.attempts().is_some();
    if let (Some(status), true) = (answered, whole) {
        return status.into();
    }
    let tries = ex.service.tries.borrow();
    let statuses = tries.iter().filter_map(|attempt| attempt.code).chain(answered);
    let statuses: Vec<String> = statuses.map(|status| status.to_string()).collect();
    statuses.join(", ").into()
}

/// Bytes of the request: its line and its headers as they arrived, and its body.
pub fn request_size(ex: &Exchange) -> u64 {
    let head = ex.request.head_len.get() as u64;
    head.saturating_add(ex.request.body_len().unwrap_or(0))
}

/// Bytes of the response: its line, its headers and what was sent of its body.
pub fn response_size(ex: &Exchange) -> u64 {
    (head_size(&ex.response.headers()) as u64 + 17).saturating_add(ex.response.sent.get())
}

fn response(ex: &Exchange) -> Value {
    let status = ex.response.status().as_u16();
    let headers = header_map(&ex.response_headers());
    json!({ "status": status, "headers": headers, "size": response_size(ex) })
}

/// Where the time of an exchange went, in milliseconds, as Kong divides it.
pub struct Latencies {
    /// All of it.
    pub request_ms: u64,
    /// Up to the request to the upstream.
    pub kong_ms: u64,
    /// From there to the upstream's head; `None` when there was no upstream.
    pub upstream_ms: Option<u64>,
}

impl Latencies {
    /// Those of an exchange, as far as it has come.
    pub fn of(ex: &Exchange) -> Self {
        let request_ms = ex.times.since_start_ms(None);
        let sent = ex.times.sent.get().map(|sent| ex.times.since_start_ms(Some(sent)));
        let kong_ms = sent.unwrap_or(request_ms);
        Self { request_ms, kong_ms, upstream_ms: ex.times.upstream_ms() }
    }
}

fn latencies(ex: &Exchange) -> Value {
    let Latencies { request_ms: total, kong_ms: before, upstream_ms: upstream } = Latencies::of(ex);
    let receive = upstream.map_or(0, |wait| total.saturating_sub(before + wait));
    json!({
        "request": total,
        "kong": before,
        "proxy": upstream.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX)),
        "receive": receive,
    })
}

/// Every attempt, as Kong lists them.
///
/// Kong learns of a failed attempt when it begins the next one. The last one has failed if no more
/// were allowed and the client gets a failure, whoever it is from.
pub fn tries(ex: &Exchange) -> Value {
    let tries = ex.service.tries.borrow();
    let status = ex.response.status().as_u16();
    let is_over = tries.len() > ex.service.limits.get().retries as usize && status > 499;
    let one = |(n, t): (usize, &super::Try)| {
        let failed = match n + 1 == tries.len() {
            true => is_over.then_some(status),
            false => t.code,
        };
        let mut value = json!({
            "ip": t.address.ip().to_string(),
            "port": t.address.port(),
            "balancer_start": t.started_at_ms,
            "balancer_start_ns": t.started_at_ms.saturating_mul(1_000_000),
            "balancer_latency": t.balancer_ns / 1_000_000,
            "balancer_latency_ns": t.balancer_ns,
        });
        if let Some(code) = failed {
            value["state"] = "failed".into();
            value["code"] = code.into();
        }
        value
    };
    Value::Array(tries.iter().enumerate().map(one).collect())
}

fn upstream_uri(ex: &Exchange) -> String {
    if ex.matched().is_none() {
        return String::new();
    }
    ex.log.masked(&ex.service.path_and_query()).into_owned()
}

/// Headers as Kong logs them: lower-case names, several values as an array.
pub fn header_map(headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for name in headers.keys() {
        let mut values: Vec<Value> = headers.get_all(name).iter().map(|v| shown(name, v)).collect();
        let value = if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
        map.insert(name.as_str().to_owned(), value);
    }
    Value::Object(map)
}

fn shown(name: &http::HeaderName, value: &http::HeaderValue) -> Value {
    const SECRET: [&str; 6] = [
        "authorization",
        "proxy-authorization",
        "api-key",
        "x-api-key",
        "x-identity-header",
        "secret",
    ];
    let secret = value.is_sensitive() || SECRET.contains(&name.as_str());
    if secret { "REDACTED".into() } else { String::from_utf8_lossy(value.as_bytes()).into() }
}

/// Query arguments as Kong shows them: decoded, several values as an array, `true` without `=`.
pub fn query_args(query: &str) -> Value {
    let mut map = Map::new();
    for part in query.split('&').filter(|p| !p.is_empty()) {
        let bare = !part.contains('=');
        for (key, value) in url::form_urlencoded::parse(part.as_bytes()) {
            let value: Value = if bare { true.into() } else { value.into() };
            match map.get_mut(&*key) {
                Some(Value::Array(values)) => values.push(value),
                Some(one) => *one = Value::Array(vec![one.take(), value]),
                None => drop(map.insert(key.into_owned(), value)),
            }
        }
    }
    Value::Object(map)
}

/// The decoded name of a query argument.
fn decoded(name: &str) -> String {
    let mut parsed = url::form_urlencoded::parse(name.as_bytes());
    parsed.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

fn head_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn insert(record: &mut Value, path: &str, value: Option<Value>, mode: Mode) -> Result<(), String> {
    let mut names = split_dotted(path);
    let Some(last) = names.pop() else { return Ok(()) };
    let mut at = record;
    for name in names {
        let Some(fields) = fields_of(at, mode) else { return Ok(()) };
        match fields.get(&name) {
            None | Some(Value::Null) if mode == Mode::Replace => return Ok(()),
            None | Some(Value::Null) => {}
            Some(inner) if inner.is_object() || inner.is_array() => {}
            Some(inner) => {
                let shown = inner.as_str().map_or_else(|| inner.to_string(), str::to_owned);
                return Err(format!(
                    "The key '{path}' could not be used as a serialize value. Subkey '{name}' is \
                     not a table. It's {shown}"
                ));
            }
        }
        at = fields.entry(name).or_insert(Value::Null);
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
    }
    let Some(fields) = fields_of(at, mode) else { return Ok(()) };
    let is_there = fields.get(&last).is_some_and(|value| !value.is_null());
    match (mode, value) {
        (Mode::Add, _) if is_there => {}
        (Mode::Replace, _) if !is_there => {}
        (_, Some(value)) => drop(fields.insert(last, value)),
        (_, None) => drop(fields.remove(&last)),
    }
    Ok(())
}

/// What is below a table by name. An empty one may be a list or not; a list has nothing by name.
fn fields_of(table: &mut Value, mode: Mode) -> Option<&mut Map<String, Value>> {
    if mode != Mode::Replace && table.as_array().is_some_and(Vec::is_empty) {
        *table = Value::Object(Map::new());
    }
    table.as_object_mut()
}

fn split_dotted(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut escaped = false;
    for c in path.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' if !escaped => names.push(String::new()),
            c => {
                escaped = false;
                if let Some(name) = names.last_mut() {
                    name.push(c);
                }
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_into_a_list_ends_there() {
        let mut record = json!({"tries": [{"ip": "::1"}], "none": []});
        let before = record["tries"].clone();
        for path in ["tries.x", "tries.x.y", "tries.0.ip.z", "none.x.y"] {
            insert(&mut record, path, Some(json!(1)), Mode::Set).unwrap();
        }
        assert_eq!(record["tries"], before);
        assert_eq!(record["none"], json!({"x": {"y": 1}}));
    }

    #[test]
    fn values_are_added_at_dotted_paths() {
        let mut record = json!({});
        let mut put = |path: &str, value: Value, mode| {
            insert(&mut record, path, Some(value), mode).unwrap();
        };
        put("ai.proxy.usage", json!({"total_tokens": 3}), Mode::Set);
        put(r"a\.b", json!(1), Mode::Set);
        put(r"a\.b", json!(2), Mode::Add);
        put("none", json!(3), Mode::Replace);
        insert(&mut record, "no.such", None, Mode::Set).unwrap();
        let told = insert(&mut record, r"a\.b.c", Some(json!(1)), Mode::Set).unwrap_err();
        assert!(told.ends_with("Subkey 'a.b' is not a table. It's 1"), "{told}");
        assert_eq!(
            record,
            json!({"ai": {"proxy": {"usage": {"total_tokens": 3}}}, "a.b": 1, "no": {}})
        );
    }

    #[test]
    fn a_sensitive_header_never_reaches_the_record() {
        let mut headers = HeaderMap::new();
        let mut key = http::HeaderValue::from_static("sk-1");
        key.set_sensitive(true);
        headers.insert("x-own", key);
        headers.insert("api-key", http::HeaderValue::from_static("sk-2"));
        headers.insert("authorization", http::HeaderValue::from_static("Bearer t"));
        let shown = header_map(&headers);
        let hidden = "REDACTED";
        assert_eq!(shown, json!({"x-own": hidden, "api-key": hidden, "authorization": hidden}));
    }

    #[test]
    fn a_key_in_the_query_is_in_no_log() {
        let extra = Extra::default();
        assert_eq!(extra.masked("/a?apikey=k"), "/a?apikey=k");
        extra.hide_arg("apikey");
        assert_eq!(extra.masked("/a?x=1&api%6Bey=k&apikey&y"), "/a?x=1&api%6Bey=***&apikey&y");
        assert_eq!(extra.masked("/apikey=k"), "/apikey=k");
    }

    #[test]
    fn every_attempt_is_listed_with_its_status() {
        let ex = Exchange::for_test("GET", "/", &[]);
        assert_eq!(upstream_status(&ex), "");
        let failed = super::super::Try {
            address: "127.0.0.1:1".parse().unwrap(),
            host: "a.test".into(),
            began: std::time::Instant::now(),
            took: std::time::Duration::ZERO,
            status: None,
            started_at_ms: 0,
            balancer_ns: 0,
            code: Some(502),
            unsent: false,
        };
        ex.service.tries.borrow_mut().push(failed.clone());
        ex.service.tries.borrow_mut().push(super::super::Try { code: None, ..failed });
        ex.service.status.set(Some(http::StatusCode::OK));
        assert_eq!(upstream_status(&ex), "502, 200");
    }

    #[test]
    fn query_arguments_keep_bare_and_repeated_ones() {
        assert_eq!(query_args("a=1&b&a=2"), json!({"a": ["1", "2"], "b": true}));
    }
}
