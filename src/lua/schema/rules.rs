//! The attributes of a field that are rules, and the checks across fields.

use mlua::{FromLua, Function, Table, Value as LuaValue};

use super::functions;
use super::read::{Reader, attribute};
use crate::schema::{Branch, EntityCheck, EntityRule, Pattern, Rule};

/// The attributes that are rules, in the order Kong checks them.
pub(super) const NAMES: [&str; 21] = [
    "eq",
    "ne",
    "not_one_of",
    "one_of",
    "gt",
    "timestamp",
    "uuid",
    "is_regex",
    "between",
    "len_eq",
    "len_min",
    "len_max",
    "starts_with",
    "not_match",
    "match_none",
    "match",
    "match_all",
    "match_any",
    "contains",
    "custom_validator",
    "mutually_exclusive_subsets",
];

/// The rules of a field.
pub(super) fn read(reader: &Reader, table: &Table) -> Result<Vec<Rule>, String> {
    let is_text = attribute::<Option<String>>(table, "type")?.as_deref() == Some("string");
    let mut rules = Vec::new();
    for name in NAMES {
        let said = |why| format!("{name}: {why}");
        match attribute::<LuaValue>(table, name)? {
            // An empty text is no value unless the schema says so.
            LuaValue::Nil if name == "len_min" && is_text => rules.push(Rule::LenMin(1)),
            LuaValue::Nil => {}
            value => rules.extend(rule(reader, name, value).map_err(said)?),
        }
    }
    Ok(rules)
}

fn rule(reader: &Reader, name: &str, value: LuaValue) -> Result<Option<Rule>, String> {
    let lua = reader.lua();
    Ok(Some(match name {
        "eq" => Rule::Eq(reader.json(value)?),
        "ne" => Rule::Ne(reader.json(value)?),
        "contains" => Rule::Contains(reader.json(value)?),
        "one_of" => Rule::OneOf(list(reader, value)?),
        "not_one_of" => Rule::NotOneOf(list(reader, value)?),
        "gt" => Rule::Gt(cast(reader, value)?),
        "between" => match cast::<Vec<f64>>(reader, value)?.as_slice() {
            &[low, high] => Rule::Between(low, high),
            _ => return Err("expected two numbers".to_owned()),
        },
        "len_eq" => Rule::LenEq(cast(reader, value)?),
        "len_min" => Rule::LenMin(cast(reader, value)?),
        "len_max" => Rule::LenMax(cast(reader, value)?),
        "starts_with" => Rule::StartsWith(cast(reader, value)?),
        "match" => Rule::Match(pattern(reader, value)?),
        "not_match" => Rule::NotMatch(pattern(reader, value)?),
        "match_all" => Rule::MatchAll(patterns(reader, value)?),
        "match_none" => Rule::MatchNone(patterns(reader, value)?),
        "match_any" => {
            let table: Table = cast(reader, value)?;
            let patterns: Vec<LuaValue> = attribute(&table, "patterns")?;
            let patterns = patterns.into_iter().map(|p| pattern(reader, p));
            Rule::MatchAny(patterns.collect::<Result<_, _>>()?, attribute(&table, "err")?)
        }
        "custom_validator" => {
            Rule::CustomValidator(functions::predicate(reader.home(), cast(reader, value)?))
        }
        "mutually_exclusive_subsets" => Rule::MutuallyExclusiveSubsets(cast(reader, value)?),
        // These are switches: `uuid = false` says nothing.
        _ if !bool::from_lua(value, lua).unwrap_or(true) => return Ok(None),
        "timestamp" => Rule::Timestamp,
        "uuid" => Rule::Uuid,
        "is_regex" => {
            // Kong's own check, which is PCRE's.
            let check = "return function(text) \
                         local _, err = ngx.re.match('', text) return not err end";
            let check: Function = lua.load(check).eval().map_err(|error| error.to_string())?;
            Rule::IsRegex(functions::predicate(reader.home(), check))
        }
        _ => return Ok(None),
    }))
}

/// One entry of `entity_checks`. `fields` are the definitions it may speak of.
pub(super) fn entity_check(
    reader: &Reader,
    kind: &str,
    argument: &Table,
    fields: &[(String, Table)],
    depth: usize,
) -> Result<EntityCheck, String> {
    let names = || cast::<Vec<String>>(reader, LuaValue::Table(argument.clone()));
    let rule = match kind {
        "at_least_one_of" => EntityRule::AtLeastOneOf(names()?),
        "only_one_of" => EntityRule::OnlyOneOf(names()?),
        "distinct" => EntityRule::Distinct(names()?),
        "mutually_required" => EntityRule::MutuallyRequired(names()?),
        "mutually_exclusive" => EntityRule::MutuallyExclusive(names()?),
        "mutually_exclusive_sets" => EntityRule::MutuallyExclusiveSets(
            attribute(argument, "set1")?,
            attribute(argument, "set2")?,
        ),
        "conditional" => {
            let (if_field, then_field) = (
                attribute::<String>(argument, "if_field")?,
                attribute::<String>(argument, "then_field")?,
            );
            let matcher = |name: &str, field: &str| {
                reader.matcher(&overlaid(reader, argument, name, field, fields)?, depth)
            };
            EntityRule::Conditional {
                if_match: matcher("if_match", &if_field)?,
                then_match: matcher("then_match", &then_field)?,
                then_err: attribute(argument, "then_err")?,
                if_field,
                then_field,
            }
        }
        "conditional_at_least_one_of" => {
            let if_field: String = attribute(argument, "if_field")?;
            let branch = |matches: &str, prefix: &str| -> Result<Branch, String> {
                let table = overlaid(reader, argument, matches, &if_field, fields)?;
                Ok(Branch {
                    matches: reader.matcher(&table, depth)?,
                    at_least_one_of: attribute(argument, &format!("{prefix}_at_least_one_of"))?,
                    err: attribute(argument, &format!("{prefix}_err"))?,
                })
            };
            let otherwise: Option<Table> = attribute(argument, "else_match")?;
            EntityRule::ConditionalAtLeastOneOf {
                then: branch("if_match", "then")?,
                otherwise: otherwise.map(|_| branch("else_match", "else_then")).transpose()?,
                if_field,
            }
        }
        "custom_entity_check" => EntityRule::Custom {
            field_sources: attribute(argument, "field_sources")?,
            check: functions::predicate(reader.home(), attribute(argument, "fn")?),
        },
        _ => return Err("there is no such check".to_owned()),
    };
    let flag = |name| attribute::<Option<bool>>(argument, name).map(Option::unwrap_or_default);
    Ok(EntityCheck {
        rule,
        run_with_missing_fields: flag("run_with_missing_fields")?,
        run_with_invalid_fields: flag("run_with_invalid_fields")?,
    })
}

/// The attributes of `if_match` on top of those of the field they are about.
fn overlaid(
    reader: &Reader,
    argument: &Table,
    name: &str,
    path: &str,
    fields: &[(String, Table)],
) -> Result<Table, String> {
    let matches: Table = attribute(argument, name)?;
    let copy = || -> mlua::Result<Table> {
        let copy = reader.lua().create_table()?;
        let base = definition(path, fields);
        for table in base.iter().chain([&matches]) {
            for pair in table.pairs::<LuaValue, LuaValue>() {
                let (key, value) = pair?;
                copy.raw_set(key, value)?;
            }
        }
        Ok(copy)
    };
    copy().map_err(|error| error.to_string())
}

/// The definition at a dotted path.
fn definition(path: &str, fields: &[(String, Table)]) -> Option<Table> {
    let (head, rest) = path.split_once('.').map_or((path, None), |(h, r)| (h, Some(r)));
    let (_, field) = fields.iter().find(|(name, _)| name == head)?;
    match rest {
        None => Some(field.clone()),
        Some(rest) => definition(rest, &super::read::entries(field, "fields").ok()?),
    }
}

fn list(reader: &Reader, value: LuaValue) -> Result<Vec<serde_json::Value>, String> {
    let values: Vec<LuaValue> = cast(reader, value)?;
    values.into_iter().map(|value| reader.json(value)).collect()
}

fn pattern(reader: &Reader, value: LuaValue) -> Result<Pattern, String> {
    functions::pattern(reader.home(), reader.lua(), &cast::<String>(reader, value)?)
}

/// Patterns with a text each; the text of one without is Kong's for the rule.
fn patterns(reader: &Reader, value: LuaValue) -> Result<Vec<(Pattern, Option<String>)>, String> {
    let tables: Vec<Table> = cast(reader, value)?;
    let read = |table: Table| -> Result<_, String> {
        let said: Option<String> = attribute(&table, "err")?;
        let pattern = pattern(reader, attribute(&table, "pattern")?)?;
        Ok((pattern, said))
    };
    tables.into_iter().map(read).collect()
}

fn cast<T: FromLua>(reader: &Reader, value: LuaValue) -> Result<T, String> {
    T::from_lua(value, reader.lua()).map_err(|error| error.to_string())
}
