//! YAML for `kong-compat/lyaml.lua`: the part of module `silverback.host` that reads a text's
//! events. What they mean is Lua's to say: words, numbers, merge keys.

use mlua::{Lua, Table};
use saphyr_parser::{Event, Parser, ScalarStyle};

/// Adds `yaml_events` to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    host.set("yaml_events", lua.create_function(events)?)
}

/// A list of events; nil and what is wrong with the text. An event has a `kind`, and as it applies
/// a `value`, whether it is `plain`, a `tag` and the number of its `anchor`.
fn events(lua: &Lua, text: String) -> mlua::Result<(Option<Table>, Option<String>)> {
    let list = lua.create_table()?;
    for event in Parser::new_from_str(&text) {
        let event = match event {
            Ok((event, _)) => event,
            Err(error) => {
                let (at, told) = (error.marker(), error.info());
                let told = format!("{}:{}: {told}", at.line(), at.col() + 1);
                return Ok((None, Some(told)));
            }
        };
        if let Some(row) = row(lua, &event)? {
            list.raw_push(row)?;
        }
    }
    Ok((Some(list), None))
}

fn row(lua: &Lua, event: &Event<'_>) -> mlua::Result<Option<Table>> {
    let row = lua.create_table()?;
    let (kind, anchor, tag) = match event {
        Event::Scalar(text, style, anchor, tag) => {
            row.raw_set("value", text.as_ref())?;
            row.raw_set("plain", *style == ScalarStyle::Plain)?;
            ("scalar", *anchor, tag.as_deref())
        }
        Event::SequenceStart(anchor, tag) => ("list", *anchor, tag.as_deref()),
        Event::MappingStart(anchor, tag) => ("map", *anchor, tag.as_deref()),
        Event::Alias(anchor) => ("alias", *anchor, None),
        Event::SequenceEnd | Event::MappingEnd => ("end", 0, None),
        Event::DocumentStart(_) => ("document", 0, None),
        Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {
            return Ok(None);
        }
    };
    row.raw_set("kind", kind)?;
    if anchor > 0 {
        row.raw_set("anchor", anchor)?;
    }
    if let Some(tag) = tag {
        row.raw_set("tag", tag.suffix.as_str())?;
    }
    Ok(Some(row))
}
