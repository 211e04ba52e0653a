//! How settings are written: flags, lines of kong.conf, sizes.

/// The flag that stands for a property, as the command line calls it.
pub(super) fn flag_of(property: &str) -> String {
    match property {
        "nginx_worker_processes" => "--workers".to_owned(),
        property => {
            format!("--{}", property.trim_start_matches("silverback_").replace('_', "-"))
        }
    }
}

/// `name = value` lines of a kong.conf: comments after `#`, names in lower case.
pub(super) fn conf_lines(text: &str) -> impl Iterator<Item = (String, String, String)> + '_ {
    text.lines().enumerate().filter_map(|(number, line)| {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        let origin = format!("kong.conf:{}", number + 1);
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned(), origin))
    })
}

/// nginx's sizes: bytes, or with `k`, `m`, `g`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.to_ascii_lowercase().chars().last()? {
        'k' => (&text[..text.len() - 1], 1 << 10),
        'm' => (&text[..text.len() - 1], 1 << 20),
        'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
