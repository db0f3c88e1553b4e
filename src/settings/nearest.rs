//! Which valid name a misspelt one meant. Knows names, not what they stand for.

/// How alike two names are, 0 to 1. A key written in the wrong section, or without one, is still
/// recognised by its last part.
fn likeness(written: &str, valid: &str) -> f64 {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let whole = strsim::normalized_damerau_levenshtein(written, valid);
    let part = strsim::normalized_damerau_levenshtein(&last(written), &last(valid));
    // The section counts too: `child.learning_rat` is nearer to `child.learning_rate` than to
    // `controller.learning_rate`.
    0.4 * whole + 0.6 * part
}

/// The most alike of `valid`; the first of equals; None: there are none.
pub fn among<'a>(written: &str, valid: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for name in valid {
        let score = likeness(&written, name);
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use crate::settings::keys;

    #[test]
    fn finds_what_was_meant() {
        for (written, meant) in [
            ("child.epoch", "child.epochs"),
            ("child.learning_rat", "child.learning_rate"),
            ("controler.hidden", "controller.hidden"),
            ("epochs", "child.epochs"),
            ("training.momentum", "child.momentum"),
            ("space.skip_connection", "space.skip_connections"),
            ("Space.Filters", "space.filters"),
            ("space.decisions", "space.decision"),
            ("seed", "run.seed"),
            ("parameter_server.shard", "parameter_server.shards"),
            ("child.table.rewards", "child.table.reward"),
        ] {
            assert_eq!(keys::nearest(written), meant, "{written}");
        }
    }
}
