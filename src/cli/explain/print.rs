//! The story for people: short blocks in the order in which a request meets them.

use std::fmt::{Display, Write as _};

use uuid::Uuid;

use super::story::{Call, Model, SignsIn, Story};
use crate::chain::explain::{Choice, Considered, Verdict};
use crate::cli::identity::survey::attached;
use crate::entity::{PluginEntity, Route, Service};
use crate::plugin::Phases;
use crate::plugins::Turn;
use crate::router::Criterion;
use crate::router::explain::Look;
use crate::snapshot::Snapshot;

/// Columns of the labels.
const LABELS: usize = 14;

/// When one of several models is tried.
fn turn(turn: &Turn) -> String {
    match turn {
        Turn { targets: ..=1, .. } => String::new(),
        Turn { groups: ..=1, algorithm, targets, .. } => {
            format!(", one of {targets} by {algorithm}")
        }
        Turn { group: 1, algorithm, .. } => format!(", tried first ({algorithm})"),
        Turn { group, groups, .. } => format!(", tried in place {group} of {groups}"),
    }
}

/// The whole page.
pub(super) fn page(story: &Story, snapshot: &Snapshot) -> String {
    let mut page = Page { text: String::new(), snapshot };
    page.request(story);
    page.route(story);
    page.others(story);
    page.call(story);
    page.plugins(story);
    page.text
}

struct Page<'a> {
    text: String,
    snapshot: &'a Snapshot,
}

impl Page<'_> {
    fn title(&mut self, title: impl Display) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{gap}{title}");
    }

    fn row(&mut self, label: &str, text: impl Display) {
        let _ = writeln!(self.text, "  {label:<LABELS$}{text}");
    }

    /// A row whose label may be longer than others are.
    fn wide_row(&mut self, width: usize, label: &str, text: impl Display) {
        let width = width.clamp(LABELS, 2 * LABELS);
        let _ = writeln!(self.text, "  {label:<width$}  {text}");
    }

    fn request(&mut self, story: &Story) {
        let request = &story.ex.request;
        let host = request.header(http::header::HOST);
        let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        self.title(format!("{} {}://{host}{}", request.method, request.scheme(), request.uri));
        match &story.path {
            Some(path) if path != request.raw_path() => {
                self.row("path", format!("{path} is matched"))
            }
            Some(_) => {}
            None => self.row("path", "is no text once it is decoded: no route can match"),
        }
        if let Some(consumer) = story.ex.client.consumer() {
            let name = consumer.username.as_ref().or(consumer.custom_id.as_ref());
            let groups: Vec<_> = consumer.groups.iter().map(|group| group.name.as_str()).collect();
            let groups = match groups.is_empty() {
                true => String::new(),
                false => format!(", in {}", groups.join(", ")),
            };
            self.row("consumer", format!("{}{groups}", name.map_or("", String::as_str)));
        }
    }

    fn route(&mut self, story: &Story) {
        let Some(won) = &story.won else {
            self.title("no route matches: 404 no Route matched with those values");
            return;
        };
        self.title(format!("route {}", route_name(&won.route)));
        self.place(won.route.id);
        for (criterion, _) in &won.criteria {
            let seen = seen(*criterion, story);
            let meets = meets(*criterion, won, &seen);
            self.row(criterion.field(), format!("{seen}{meets}"));
        }
        if let Some(expression) = won.route.expression.as_ref().filter(|_| won.criteria.is_empty())
        {
            self.row("expression", expression);
        }
        let position = format!("{} of {} in the router's order", won.rank + 1, story.parts);
        self.row("priority", format!("{:#018x}, {position}", won.priority));
        if let Some(prefix) = story.ex.matched().and_then(|matched| matched.prefix.as_ref()) {
            self.row("strip_path", format!("{prefix} is taken off"));
        }
        if let Some(matched) = story.ex.matched() {
            let named = matched.captures.iter().filter(|(name, _)| name.parse::<usize>().is_err());
            for (name, value) in named {
                self.row("captured", format!("{name} = {value}"));
            }
        }
        if let Some((status, reason)) = story.answer {
            self.row("answers", format!("{status}: {reason}"));
        }
    }

    fn others(&mut self, story: &Story) {
        if !story.near.is_empty() || !story.disabled.is_empty() {
            self.title("other routes, the nearest first");
        }
        let width = story.near.iter().map(|look| route_name(&look.route).len()).max();
        let width = width.unwrap_or_default();
        for look in &story.near {
            let name = route_name(&look.route);
            match &story.won {
                Some(won) if look.agrees => {
                    let why = won.precedes_by(look);
                    let winner = route_name(&won.route);
                    self.wide_row(
                        width,
                        &name,
                        format!("matches, too, but {winner} goes first: {why}"),
                    );
                }
                _ => self.wide_row(width, &name, misses(look, story)),
            }
        }
        if story.more > 0 {
            self.row("", format!("and {} more that are farther away", story.more));
        }
        for (route, service) in &story.disabled {
            let service = service_name(service);
            let text = format!("would match, but its service {service} is disabled");
            self.wide_row(width, &route_name(route), text);
        }
    }

    fn call(&mut self, story: &Story) {
        let Some(call) = &story.call else {
            if story.won.is_some() {
                self.title("no service: the route has none");
            }
            return;
        };
        let Call { service, url, host, targets } = call;
        self.title(format!("service {}", service_name(service)));
        self.place(service.id);
        if story.models.is_empty() {
            self.row("goes to", url);
        } else {
            self.row("would go to", format!("{url}, but a plugin below sends it elsewhere"));
        }
        if let Some(host) = host {
            self.row("Host", host);
        }
        if let Some(targets) = targets {
            for target in targets {
                self.row("target", format!("{}, weight {}", target.target, target.weight));
            }
            if targets.is_empty() {
                self.row("target", "none: 503 failure to get a peer from the ring-balancer");
            }
        }
        let limits = story.ex.service.limits.get();
        let seconds = |ms: u64| format!("{} s", ms as f64 / 1000.0);
        let (connect, read) = (seconds(limits.connect_ms), seconds(limits.read_ms));
        let text = format!("connect {connect}, read {read}, {} further tries", limits.retries);
        self.row("limits", text);
    }

    fn plugins(&mut self, story: &Story) {
        if story.plugins.is_empty() && story.off.is_empty() {
            self.title("no plugins");
            return;
        }
        self.title("plugins, in the order in which they run");
        let running = story.plugins.iter().filter_map(Choice::runs).map(|runs| &runs.entity);
        let width = running.clone().map(|entity| entity.name.len()).max().unwrap_or_default();
        let scopes = running.map(|entity| scope(self.snapshot, entity).len()).max();
        let widths = (width, scopes.unwrap_or_default());
        for choice in &story.plugins {
            for one in choice.candidates.iter().filter(|one| one.verdict == Verdict::Runs) {
                self.running(one, widths, story);
            }
        }
        let others = || story.plugins.iter().flat_map(|choice| &choice.candidates);
        let left_out = || others().filter(|one| one.verdict != Verdict::Runs);
        if left_out().next().is_some() || !story.off.is_empty() {
            self.title("plugins that do not run");
        }
        left_out().for_each(|one| self.left_out(one, story));
        for plugin in &story.off {
            let scope = scope(self.snapshot, plugin);
            let text = format!("for {scope}: it is switched off (enabled: false)");
            self.wide_row(width, &plugin.name, format!("{text}{}", self.at(plugin.id)));
        }
    }

    fn running(&mut self, one: &Considered, widths: (usize, usize), story: &Story) {
        let entity = &one.instance.entity;
        let (name, scope) = (&entity.name, scope(self.snapshot, entity));
        let (phases, at) = (phases(one.instance.phases), self.at(entity.id));
        let priority = one.instance.priority;
        let (wide, scopes) = widths;
        let _ =
            writeln!(self.text, "  {priority:>7}  {name:<wide$}  {scope:<scopes$}  {phases}{at}");
        let models = story.models.iter().filter(|model| model.plugin.id == entity.id);
        models.for_each(|model| self.model(model));
    }

    fn left_out(&mut self, one: &Considered, story: &Story) {
        let entity = &one.instance.entity;
        let why = match one.verdict {
            Verdict::Runs => return,
            Verdict::LessSpecific => "a more specific one is in its place",
            Verdict::OtherGroup => "the consumer is not in this group",
            Verdict::OtherConsumer => "the consumer is another one",
        };
        let unknown = story.ex.client.consumer().is_none();
        let hint = match one.verdict {
            Verdict::OtherGroup | Verdict::OtherConsumer if unknown => {
                ", as far as --consumer says"
            }
            _ => "",
        };
        let text = format!("for {}: {why}{hint}", scope(self.snapshot, entity));
        self.wide_row(LABELS, &entity.name, format!("{text}{}", self.at(entity.id)));
    }

    fn model(&mut self, model: &Model) {
        let weight = model.weight.map(|weight| format!(", weight {weight}")).unwrap_or_default();
        let (Ok(url) | Err(url)) = &model.url;
        let turn = turn(&model.turn);
        self.row("", format!("model {}{weight}{turn} ({})", model.name, model.path));
        self.row("", format!("  {url}"));
        let signs_in = match &model.signs_in {
            SignsIn::Identity { kind, subject, why } => format!("as {kind}, {subject}: {why}"),
            SignsIn::Key { field, place } => format!("with the key of {field}, in {place}"),
            SignsIn::Not(reason) => format!("without a credential: {reason}"),
        };
        self.row("", format!("  {signs_in}"));
    }

    fn place(&mut self, id: Uuid) {
        if let Some(place) = self.snapshot.places.get(&id) {
            self.row("written at", place);
        }
    }

    /// ` (file:line)`.
    fn at(&self, id: Uuid) -> String {
        let place = self.snapshot.places.get(&id);
        place.map(|place| format!("  ({}:{})", place.file, place.line)).unwrap_or_default()
    }
}

/// What a plugin is attached to, in words.
pub(super) fn scope(snapshot: &Snapshot, plugin: &PluginEntity) -> String {
    let attached = attached(snapshot, plugin);
    let attached: Vec<_> = attached.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    if attached.is_empty() { "everything".to_owned() } else { attached.join(" and ") }
}

/// What of a request a criterion looks at.
fn seen(criterion: Criterion, story: &Story) -> String {
    let request = &story.ex.request;
    match criterion {
        Criterion::Methods => request.method.to_string(),
        Criterion::Hosts => {
            let host = request.header(http::header::HOST);
            host.and_then(|host| Some(host.to_str().ok()?.to_owned())).unwrap_or_default()
        }
        Criterion::Headers => "the request".to_owned(),
        Criterion::Snis => request.connection.sni.as_deref().unwrap_or("no name").to_owned(),
        Criterion::Sources => request.connection.client.to_string(),
        Criterion::Destinations => request.connection.local.to_string(),
        Criterion::Paths => story.path.clone().unwrap_or_default(),
    }
}

/// How a criterion that is met is met.
fn meets(criterion: Criterion, look: &Look, seen: &str) -> String {
    let wanted = wanted(criterion, look);
    match criterion {
        _ if wanted == seen => String::new(),
        Criterion::Paths => match look.paths.as_slice() {
            [path] if path.starts_with('~') => format!(" matches {path}"),
            [path] => format!(" begins with {path}"),
            _ => format!(" fits one of {wanted}"),
        },
        Criterion::Headers => format!(" has {wanted}"),
        _ => format!(" is one of {wanted}"),
    }
}

/// What of a Route is not met.
pub(super) fn missed(look: &Look) -> impl Iterator<Item = Criterion> + '_ {
    look.criteria.iter().filter(|(_, met)| !met).map(|(criterion, _)| *criterion)
}

fn misses(look: &Look, story: &Story) -> String {
    let mut reasons: Vec<String> = missed(look)
        .map(|criterion| {
            let (seen, wanted) = (seen(criterion, story), wanted(criterion, look));
            let field = criterion.field();
            match criterion {
                Criterion::Paths if wanted.starts_with('~') => {
                    format!("{field}: {seen} does not match {wanted}")
                }
                Criterion::Paths => format!("{field}: {seen} does not begin with {wanted}"),
                Criterion::Headers => format!("{field}: {seen} does not have {wanted}"),
                _ => format!("{field}: {seen} is none of {wanted}"),
            }
        })
        .collect();
    if !look.takes_scheme {
        let protocols: Vec<_> = look.route.protocols.iter().map(|p| p.name()).collect();
        reasons.push(format!("protocols: only {}", protocols.join(", ")));
    }
    if let (Some(expression), true) = (&look.route.expression, reasons.is_empty()) {
        reasons.push(format!("expression: {expression} is not true"));
    }
    reasons.join("; ")
}

/// The values of a criterion.
pub(super) fn wanted(criterion: Criterion, look: &Look) -> String {
    let route = &look.route;
    let joined = |list: &Option<Vec<String>>| list.iter().flatten().cloned().collect::<Vec<_>>();
    let list = match criterion {
        Criterion::Methods => joined(&route.methods),
        Criterion::Hosts => joined(&route.hosts),
        Criterion::Snis => joined(&route.snis),
        Criterion::Paths => look.paths.clone(),
        Criterion::Headers => {
            let header = |(name, values): (&String, &Vec<String>)| {
                format!("{name}: {}", values.join(" or "))
            };
            route.headers.iter().flatten().map(header).collect()
        }
        Criterion::Sources => addresses(&route.json["sources"]),
        Criterion::Destinations => addresses(&route.json["destinations"]),
    };
    list.join(", ")
}

fn addresses(list: &serde_json::Value) -> Vec<String> {
    let one = |net: &serde_json::Value| {
        let ip = net["ip"].as_str().unwrap_or("*");
        net["port"].as_u64().map_or(ip.to_owned(), |port| format!("{ip}:{port}"))
    };
    list.as_array().into_iter().flatten().map(one).collect()
}

pub(super) fn route_name(route: &Route) -> String {
    route.name.clone().unwrap_or_else(|| route.id.to_string())
}

pub(super) fn service_name(service: &Service) -> String {
    service.name.clone().unwrap_or_else(|| service.id.to_string())
}

/// The phases of a plugin by name.
pub(super) fn phases(phases: Phases) -> String {
    const ALL: [(Phases, &str); 6] = [
        (Phases::REWRITE, "rewrite"),
        (Phases::ACCESS, "access"),
        (Phases::RESPONSE, "response"),
        (Phases::HEADER_FILTER, "header_filter"),
        (Phases::BODY_FILTER, "body_filter"),
        (Phases::LOG, "log"),
    ];
    let names: Vec<_> =
        ALL.iter().filter(|(phase, _)| phases.has(*phase)).map(|(_, name)| *name).collect();
    if names.is_empty() { "no phase".to_owned() } else { names.join(", ") }
}
