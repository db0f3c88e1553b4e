//! Sizes and command line that the benches of recurrent networks share. Knows nothing of what they
//! measure.

/// Sequences side by side, steps of one, and layers.
pub const BATCH: usize = 20;
pub const STEPS: usize = 35;
pub const LAYERS: usize = 2;

/// `[--name NAME]… [--hidden N] [--threads N] [--seconds S]`
pub struct Arguments {
    names: Vec<String>,
    pub hidden: usize,
    pub threads: usize,
    pub seconds: f64,
}

impl Arguments {
    pub fn parse() -> Self {
        let mut parsed = Self {
            names: Vec::new(),
            hidden: 200,
            threads: 1,
            seconds: 2.0,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .unwrap_or_else(|| panic!("{word} needs a value"))
            };
            match word.as_str() {
                "--name" => parsed.names.push(value()),
                "--hidden" => parsed.hidden = value().parse().expect("a number of units"),
                "--threads" => parsed.threads = value().parse().expect("a number of threads"),
                "--seconds" => parsed.seconds = value().parse().expect("a number of seconds"),
                // An argument that cargo adds.
                _ => {}
            }
        }
        parsed
    }

    /// Whether this is to be measured: everything is, where no name was given.
    pub fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}
