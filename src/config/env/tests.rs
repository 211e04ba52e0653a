use proptest::prelude::*;

use super::*;

fn env() -> Env {
    Env::from_iter([
        ("DECK_HOST", "example.com"),
        ("DECK_PORT", "8443"),
        ("DECK_KEY", "two\nlines"),
        ("DECK_EMPTY", ""),
        ("DECK_ON", "T"),
        ("HOME", "/root"),
    ])
}

fn render(text: &str) -> String {
    substitute(text, 0, &env()).unwrap().text
}

/// All faults as `line:column: message`.
fn faults(text: &str) -> Vec<String> {
    let faults = substitute(text, 0, &env()).unwrap_err().faults;
    faults.iter().map(|f| format!("{}:{}: {}", f.pos.line, f.pos.column, f.message)).collect()
}

#[test]
fn placeholders_are_filled_in() {
    let cases = [
        ("host: ${{ env \"DECK_HOST\" }}", "host: example.com"),
        ("host: ${{env `DECK_HOST`}}!", "host: example.com!"),
        ("port: ${{ env \"DECK_PORT\" | toInt }}", "port: 8443"),
        ("port: ${{ toFloat (env \"DECK_PORT\") }}", "port: 8443"),
        ("on: ${{ env \"DECK_ON\" | toBool }}", "on: true"),
        ("|\n  ${{ env \"DECK_KEY\" | indent 2 }}", "|\n  two\n  lines"),
        ("a${{ \"x\" }}b${{/* note */}}c", "axbc"),
        ("${{ env \"DECK_EMPTY\" }}", ""),
        ("no placeholders ${ } {{ }}", "no placeholders ${ } {{ }}"),
        // decK does not look at comments.
        ("# ${{ env \"NOPE\" }}\n  # ${{\na: 1", "# ${{ env \"NOPE\" }}\n  # ${{\na: 1"),
    ];
    for (text, rendered) in cases {
        assert_eq!(render(text), rendered);
    }
}

#[test]
fn faults_are_told_all_at_once_in_decks_words() {
    let text = "a: ${{ env \"HOME\" }}\nb: 1\nc: x ${{ env \"DECK_NOPE\" }} ${{ foo }}\n";
    let expected = [
        "1:4: environment variables in the state file must be prefixed with 'DECK_', found: 'HOME'",
        "3:6: environment variable 'DECK_NOPE' present in state file but not set",
        "3:29: function \"foo\" not defined (there are env, indent, toBool, toFloat, toInt)",
    ];
    assert_eq!(faults(text), expected);
}

#[test]
fn malformed_placeholders_are_faults() {
    let cases = [
        ("${{ env \"DECK_HOST\"", "1:1: unclosed action: no '}}' follows this '${{'"),
        ("${{ }}", "1:1: missing value for the placeholder"),
        ("${{ env }}", "1:1: wrong number of args for env: want 1 got 0"),
        ("${{ env \"DECK_HOST\" | }}", "1:1: missing value for the placeholder"),
        ("${{ env \"DECK_HOST\" | toInt }}", "1:1: toInt: expected the value to be an integer"),
        ("${{ (env \"DECK_HOST\" }}", "1:1: unexpected end: a ')' is missing in the placeholder"),
        ("${{ if eq 1 1 }}", "1:1: 'if' is not read here: a placeholder can only put in a value"),
        (
            "${{- env \"DECK_HOST\" -}}",
            "1:1: trim markers ('${{-' and '-}}') are not read here; leave the hyphens out",
        ),
        (
            "${{ env \"DECK_HOST\" -}}",
            "1:1: trim markers ('${{-' and '-}}') are not read here; leave the hyphens out",
        ),
        ("${{ $x }}", "1:1: unexpected '$' in the placeholder"),
    ];
    for (text, fault) in cases {
        assert_eq!(faults(text), [fault]);
    }
}

#[test]
fn positions_lead_back_to_the_file() {
    let text = "a: ${{ env \"DECK_KEY\" }} z\nb: ${{ env \"DECK_PORT\" }}, c\nd: 1";
    let rendered = substitute(text, 3, &env()).unwrap();
    assert_eq!(rendered.text, "a: two\nlines z\nb: 8443, c\nd: 1");
    let source = |line, column| {
        let pos = rendered.origin.pos(line, column);
        assert_eq!(pos.file, 3);
        (pos.line, pos.column)
    };
    assert_eq!(source(1, 1), (1, 1));
    assert_eq!(source(1, 5), (1, 4)); // inside the value: where the placeholder is
    assert_eq!(source(2, 2), (1, 4));
    assert_eq!(source(2, 7), (1, 26)); // the z
    assert_eq!(source(3, 1), (2, 1));
    assert_eq!(source(3, 10), (2, 28)); // the c
    assert_eq!(source(4, 4), (3, 4));
}

#[test]
fn debug_hides_values() {
    let rendered = substitute("${{ env \"DECK_HOST\" }}", 0, &env()).unwrap();
    assert!(!format!("{:?}", rendered.used).contains("example.com"));
}

proptest! {
    /// Whatever is put in, the last line of the text is the last line of the file.
    #[test]
    fn line_counts_are_kept(
        parts in prop::collection::vec("[a-z \n]{0,8}", 1..6),
        value in "[a-z\n]{0,9}",
    ) {
        let text = parts.join("${{ env \"DECK_X\" }}");
        let env = Env::from_iter([("DECK_X", value)]);
        let rendered = substitute(&text, 0, &env).unwrap();
        let last = rendered.text.split('\n').count();
        let column = rendered.text.rsplit('\n').next().unwrap().chars().count() + 1;
        prop_assert_eq!(rendered.origin.pos(last, column).line, text.split('\n').count());
    }

    #[test]
    fn no_text_panics(text in "[${}\"`|()#a-z \n-]{0,60}") {
        let _ = substitute(&text, 0, &env());
    }
}
