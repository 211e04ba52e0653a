//! The `VERSION` of a handler.

/// `x.y.z` of a version: the first run of digits and dots, of three numbers at most (Kong takes it
/// out of whatever stands around it).
pub(super) fn plain_version(version: &str) -> Option<String> {
    let from = version.find(|c: char| c.is_ascii_digit())?;
    let run = version.get(from..)?.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
    let parts = run.strip_suffix('.').unwrap_or(run).split('.');
    let parts = parts.map(|part| part.parse::<u64>().ok().map(|number| number.to_string()));
    let parts = parts.collect::<Option<Vec<_>>>()?;
    (parts.len() <= 3).then(|| parts.join("."))
}
