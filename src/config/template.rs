//! The expressions inside `${{ ... }}`: the part of Go's text/template that state files use.
//!
//! Functions, literals, pipes and parentheses; decK's functions are `env`, `indent`, `toBool`,
//! `toFloat` and `toInt`. Control structures (`if`, `range`), trim markers (`${{-`) and Go's own
//! functions are left out and refused by name. No error holds a variable's value.

use std::fmt;

/// Longest padding that `indent` writes.
const MAX_INDENT: i64 = 1000;

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 20;

const FUNCTIONS: [&str; 5] = ["env", "indent", "toBool", "toFloat", "toInt"];

/// Go's words for what is more than a value.
const CONTROL: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// What is wrong with a placeholder. The first two texts are decK's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// decK reads no other variables.
    #[error("environment variables in the state file must be prefixed with 'DECK_', found: '{0}'")]
    Prefix(String),
    /// The variable is not in the environment.
    #[error("environment variable '{0}' present in state file but not set")]
    Unset(String),
    /// Go's word for a placeholder without end.
    #[error("unclosed action: no '}}}}' follows this '${{{{'")]
    Unclosed,
    /// Neither decK's function nor one that is read here.
    #[error("function \"{0}\" not defined (there are env, indent, toBool, toFloat, toInt)")]
    UnknownFunction(String),
    /// `${{- env "DECK_X" -}}`: Go would take away the white space around it.
    #[error("trim markers ('${{{{-' and '-}}}}') are not read here; leave the hyphens out")]
    Trim,
    /// Go's templates can do more than put in a value.
    #[error("'{0}' is not read here: a placeholder can only put in a value")]
    Control(String),
    /// Too many or too few operands.
    #[error("wrong number of args for {function}: want {want} got {got}")]
    ArgumentCount { function: &'static str, want: usize, got: usize },
    /// An operand of another type.
    #[error("{function}: expected {want}")]
    ArgumentType { function: &'static str, want: &'static str },
    /// A character that starts nothing.
    #[error("unexpected {0} in the placeholder")]
    Unexpected(String),
    /// `${{ }}`.
    #[error("missing value for the placeholder")]
    Empty,
}

/// The inside of one placeholder.
#[derive(Debug)]
pub(super) struct Action {
    pipeline: Option<Pipeline>,
    /// Bytes up to and with the closing braces.
    pub(super) length: usize,
}

type Pipeline = Vec<Vec<Operand>>;

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Function(String),
    Literal(Datum),
    Nested(Pipeline),
}

#[derive(Debug, Clone, PartialEq)]
enum Datum {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(flag) => flag.fmt(f),
        }
    }
}

/// Reads a placeholder from the text after its opening braces.
pub(super) fn read(text: &str) -> Result<Action, Error> {
    let mut rest = text;
    let mut tokens = Vec::new();
    if text.strip_prefix('-').is_some_and(|rest| rest.starts_with(char::is_whitespace)) {
        return Err(Error::Trim);
    }
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("}}") {
            let length = text.len() - after.len();
            return Ok(Action { pipeline: parse(&tokens)?, length });
        }
        if rest.starts_with("-}}") {
            return Err(Error::Trim);
        }
        let (token, after) = token(rest)?;
        tokens.extend(token);
        rest = after;
    }
}

impl Action {
    /// The text that takes the placeholder's place; `look_up` tells the value of a variable.
    pub(super) fn run(
        &self,
        look_up: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<String, Error> {
        match &self.pipeline {
            Some(pipeline) => Ok(evaluate(pipeline, look_up)?.to_string()),
            None => Ok(String::new()),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Literal(Datum),
    Pipe,
    Open,
    Close,
    Comment,
}

/// The first token of a text that does not begin with white space.
fn token(text: &str) -> Result<(Option<Token>, &str), Error> {
    let Some(first) = text.chars().next() else { return Err(Error::Unclosed) };
    let single = |token| Ok((Some(token), &text[1..]));
    match first {
        '|' => single(Token::Pipe),
        '(' => single(Token::Open),
        ')' => single(Token::Close),
        '"' => quoted(text),
        '`' => {
            let end = text[1..].find('`').ok_or(Error::Unclosed)?;
            let raw = Token::Literal(Datum::Text(text[1..=end].to_owned()));
            Ok((Some(raw), &text[end + 2..]))
        }
        '/' if text.starts_with("/*") => {
            let end = text.find("*/").ok_or(Error::Unclosed)?;
            Ok((Some(Token::Comment), &text[end + 2..]))
        }
        _ => {
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
            let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
            match &text[..end] {
                "" if text[first.len_utf8()..].contains("}}") => {
                    Err(Error::Unexpected(format!("'{}'", first.escape_debug())))
                }
                "" => Err(Error::Unclosed),
                word => Ok((Some(word_token(word)), &text[end..])),
            }
        }
    }
}

fn word_token(word: &str) -> Token {
    let datum = match word {
        "true" => Some(Datum::Bool(true)),
        "false" => Some(Datum::Bool(false)),
        _ if !word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+')) => None,
        _ => word.parse().map(Datum::Int).or_else(|_| word.parse().map(Datum::Float)).ok(),
    };
    datum.map_or_else(|| Token::Word(word.to_owned()), Token::Literal)
}

/// A string in double quotes with Go's escapes, which end at the same line.
fn quoted(text: &str) -> Result<(Option<Token>, &str), Error> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Some(Token::Literal(Datum::Text(value))), &text[at + 1..])),
            '\n' => break,
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\')) => value.push(c),
                _ => return Err(Error::Unexpected("escape sequence".to_owned())),
            },
            _ => value.push(c),
        }
    }
    Err(Error::Unclosed)
}

/// Tokens to a pipeline; nothing for a comment.
fn parse(tokens: &[Token]) -> Result<Option<Pipeline>, Error> {
    match tokens {
        [Token::Comment] => return Ok(None),
        [Token::Word(word), ..] if CONTROL.contains(&word.as_str()) => {
            return Err(Error::Control(word.clone()));
        }
        _ => {}
    }
    let mut tokens = tokens.iter();
    let (pipeline, closed) = pipeline(&mut tokens, 0)?;
    if closed { Err(Error::Unexpected("')'".to_owned())) } else { Ok(Some(pipeline)) }
}

/// One pipeline up to its end or `)`, and whether it was `)`.
fn pipeline(
    tokens: &mut std::slice::Iter<'_, Token>,
    depth: usize,
) -> Result<(Pipeline, bool), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Unexpected("nesting".to_owned()));
    }
    let mut commands = vec![Vec::new()];
    let mut closed = false;
    while let Some(token) = tokens.next() {
        let operand = match token {
            Token::Pipe => {
                commands.push(Vec::new());
                continue;
            }
            Token::Close => {
                closed = true;
                break;
            }
            Token::Open => match pipeline(tokens, depth + 1)? {
                (nested, true) => Operand::Nested(nested),
                _ => return Err(Error::Unexpected("end: a ')' is missing".to_owned())),
            },
            Token::Word(word) => Operand::Function(word.clone()),
            Token::Literal(datum) => Operand::Literal(datum.clone()),
            Token::Comment => return Err(Error::Unexpected("comment".to_owned())),
        };
        if let Some(command) = commands.last_mut() {
            command.push(operand);
        }
    }
    if commands.iter().any(Vec::is_empty) {
        return Err(Error::Empty);
    }
    Ok((commands, closed))
}

type LookUp<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

/// Runs commands from left to right; each result is the last operand of the next command.
fn evaluate(pipeline: &Pipeline, look_up: LookUp<'_>) -> Result<Datum, Error> {
    let mut piped = None;
    for command in pipeline {
        let mut operands = Vec::new();
        for operand in command.iter().skip(1) {
            operands.push(match operand {
                // A function without operands of its own, as an operand.
                Operand::Function(name) => call(name, &[], look_up)?,
                Operand::Literal(datum) => datum.clone(),
                Operand::Nested(inner) => evaluate(inner, look_up)?,
            });
        }
        operands.extend(piped.take());
        piped = Some(match command.first() {
            Some(Operand::Function(name)) => call(name, &operands, look_up)?,
            Some(_) if !operands.is_empty() => {
                return Err(Error::Unexpected("operand after a value".to_owned()));
            }
            Some(Operand::Literal(datum)) => datum.clone(),
            Some(Operand::Nested(inner)) => evaluate(inner, look_up)?,
            None => return Err(Error::Empty),
        });
    }
    piped.ok_or(Error::Empty)
}

fn call(name: &str, operands: &[Datum], look_up: LookUp<'_>) -> Result<Datum, Error> {
    let Some(function) = FUNCTIONS.into_iter().find(|known| *known == name) else {
        return Err(Error::UnknownFunction(name.to_owned()));
    };
    let wrong = |want| Error::ArgumentType { function, want };
    match (function, operands) {
        ("indent", [Datum::Int(width), Datum::Text(text)]) => {
            let width = usize::try_from((*width).clamp(0, MAX_INDENT)).unwrap_or_default();
            Ok(Datum::Text(text.replace('\n', &format!("\n{:width$}", ""))))
        }
        ("indent", [_, _]) => Err(wrong("a number and a string")),
        ("env", [Datum::Text(name)]) if !name.starts_with("DECK_") => {
            Err(Error::Prefix(name.clone()))
        }
        ("env", [Datum::Text(name)]) => {
            look_up(name).map(Datum::Text).ok_or_else(|| Error::Unset(name.clone()))
        }
        ("toInt", [Datum::Text(text)]) => {
            text.parse().map(Datum::Int).map_err(|_| wrong("the value to be an integer"))
        }
        ("toFloat", [Datum::Text(text)]) => {
            text.parse().map(Datum::Float).map_err(|_| wrong("the value to be a number"))
        }
        // Go's strconv.ParseBool.
        ("toBool", [Datum::Text(text)]) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Datum::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Datum::Bool(false)),
            _ => Err(wrong("the value to be true or false")),
        },
        (_, [_]) if function != "indent" => Err(wrong("a string")),
        _ => {
            let want = if function == "indent" { 2 } else { 1 };
            Err(Error::ArgumentCount { function, want, got: operands.len() })
        }
    }
}
