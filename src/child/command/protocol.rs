//! What a program prints on stdout, line by line: epochs, and at the end its reward. Must not know
//! where the lines come from.

use super::super::{Cause, Outcome};
use super::trial_files::shortened;
use serde_json::{Map, Value};

/// Characters of a line that a message quotes.
const MAX_QUOTED_LINE: usize = 80;

const FORMS: &str = "{\"epoch\": 3, \"metric\": 0.81} nor {\"reward\": 0.53}";

/// An epoch's line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochLine {
    pub epoch: usize,
    /// NaN where the program printed a number that is not finite.
    pub metric: f64,
    pub train_loss: Option<f64>,
    /// What the child would be worth if it ended here; None: it does not say, or it is not finite.
    pub reward: Option<f64>,
}

/// What the program has printed so far.
#[derive(Default)]
pub struct Protocol {
    /// Each epoch must come after those before it: what prunes a child looks at them in order.
    ascending: bool,
    last_epoch: usize,
    lines: usize,
    last_metric: Option<f64>,
    /// Reward and metric.
    reward: Option<(f64, Option<f64>)>,
}

type Refused = (Cause, String);

impl Protocol {
    /// Of a child that may be pruned, if `ascending`.
    pub fn new(ascending: bool) -> Self {
        Self {
            ascending,
            ..Self::default()
        }
    }

    /// Takes the next line; an empty line means nothing.
    pub fn line(&mut self, text: &str) -> Result<Option<EpochLine>, Refused> {
        self.lines += 1;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let Some(fields) = object(text) else {
            return Err(self.refuse(text, &format!("is neither {FORMS}")));
        };
        if self.reward.is_some() {
            return Err(self.refuse(text, "comes after the reward, which must be the last"));
        }
        match (fields.get("epoch"), fields.get("reward")) {
            (None, Some(_)) => self.reward(text, &fields).map(|()| None),
            (Some(_), _) => self.epoch(text, &fields).map(Some),
            (None, None) => Err(self.refuse(text, &format!("is neither {FORMS}"))),
        }
    }

    /// The outcome of a program that ended well.
    pub fn outcome(&self) -> Result<Outcome, Refused> {
        let Some((reward, metric)) = self.reward else {
            let printed = if self.lines == 0 {
                "printed nothing".to_owned()
            } else {
                format!(
                    "printed {} line{}",
                    self.lines,
                    if self.lines == 1 { "" } else { "s" }
                )
            };
            return Err((
                Cause::Protocol,
                format!(
                    "the command {printed} on stdout and no reward; its last line must be {{\"reward\": NUMBER}}"
                ),
            ));
        };
        let metric = metric
            .or(self.last_metric)
            .filter(|metric| metric.is_finite())
            .unwrap_or(reward);
        Ok(Outcome::Completed {
            reward,
            metric,
            seconds: None,
        })
    }

    fn reward(&mut self, text: &str, fields: &Map<String, Value>) -> Result<(), Refused> {
        let reward = self.number(text, fields, "reward")?.unwrap_or(f64::NAN);
        if !reward.is_finite() {
            return Err((
                Cause::Diverged,
                format!(
                    "line {} on stdout: the reward is not a finite number",
                    self.lines
                ),
            ));
        }
        self.reward = Some((reward, self.number(text, fields, "metric")?));
        Ok(())
    }

    fn epoch(&mut self, text: &str, fields: &Map<String, Value>) -> Result<EpochLine, Refused> {
        let number = self.number(text, fields, "epoch")?.unwrap_or_default();
        if number < 1.0 || number.fract() != 0.0 || number > 1e9 {
            return Err(self.refuse(text, "has an epoch that is no whole number from 1"));
        }
        let epoch = number as usize;
        if self.ascending && epoch <= self.last_epoch {
            let reason = format!(
                "comes after epoch {}: early stopping needs epochs in ascending order",
                self.last_epoch
            );
            return Err(self.refuse(text, &reason));
        }
        let Some(metric) = self.number(text, fields, "metric")? else {
            return Err(self.refuse(text, "has no metric"));
        };
        let train_loss = self.number(text, fields, "train_loss")?;
        let reward = self.number(text, fields, "reward")?;
        self.last_metric = Some(metric);
        self.last_epoch = epoch;
        Ok(EpochLine {
            epoch,
            metric,
            train_loss,
            reward: reward.filter(|reward| reward.is_finite()),
        })
    }

    /// A field that must be a number, where it is there. NaN where it is not finite, or null.
    fn number(
        &self,
        text: &str,
        fields: &Map<String, Value>,
        name: &str,
    ) -> Result<Option<f64>, Refused> {
        match fields.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(f64::NAN)),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(_) => Err(self.refuse(text, &format!("has a {name} that is no number"))),
        }
    }

    fn refuse(&self, text: &str, reason: &str) -> Refused {
        let line = shortened(text.trim(), MAX_QUOTED_LINE);
        let hint = "; anything else belongs on stderr";
        (
            Cause::Protocol,
            format!("line {} on stdout, `{line}`, {reason}{hint}", self.lines),
        )
    }
}

/// A JSON object. Python's `json` writes NaN and Infinity, which JSON does not have: they become
/// null.
fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok().or_else(|| {
        let known = ["-Infinity", "Infinity", "NaN"]
            .iter()
            .fold(text.to_owned(), |text, word| text.replace(word, "null"));
        serde_json::from_str(&known).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_of(lines: &[&str]) -> Result<Outcome, Refused> {
        let mut protocol = Protocol::default();
        for line in lines {
            protocol.line(line)?;
        }
        protocol.outcome()
    }

    fn refused(lines: &[&str]) -> String {
        let (cause, error) = outcome_of(lines).unwrap_err();
        assert_eq!(cause, Cause::Protocol, "{error}");
        error
    }

    #[test]
    fn the_metric_is_the_one_beside_the_reward_or_the_last_epochs_or_the_reward() {
        let metric = |lines: &[&str]| match outcome_of(lines).unwrap() {
            Outcome::Completed {
                reward,
                metric,
                seconds: None,
            } => (reward, metric),
            other => panic!("{other:?}"),
        };
        let epochs = [
            "{\"epoch\":1,\"metric\":0.5}",
            "",
            "{\"epoch\":2,\"metric\":0.8,\"train_loss\":1.5,\"note\":\"x\"}",
        ];
        assert_eq!(
            metric(&[&epochs[..], &["{\"reward\":-3}"]].concat()),
            (-3.0, 0.8)
        );
        assert_eq!(
            metric(&[&epochs[..], &[" {\"reward\": 1e3, \"metric\": 0.25} "]].concat()),
            (1000.0, 0.25)
        );
        assert_eq!(metric(&["{\"reward\":0.53}"]), (0.53, 0.53));
        assert_eq!(
            metric(&["{\"epoch\":1,\"metric\":NaN}", "{\"reward\":0.53}"]),
            (0.53, 0.53)
        );
    }

    #[test]
    fn an_epoch_says_its_number_metric_and_loss() {
        let mut protocol = Protocol::default();
        let line = protocol
            .line("{\"epoch\": 3.0, \"metric\": 0.81, \"train_loss\": 0.5}")
            .unwrap()
            .unwrap();
        assert_eq!(
            line,
            EpochLine {
                epoch: 3,
                metric: 0.81,
                train_loss: Some(0.5),
                reward: None
            }
        );
        let line = |protocol: &mut Protocol, text: &str| protocol.line(text).unwrap().unwrap();
        let with_reward = "{\"epoch\": 4, \"metric\": 1, \"reward\": -2.5}";
        assert_eq!(line(&mut protocol, with_reward).reward, Some(-2.5));
        let without = "{\"epoch\": 5, \"metric\": 1, \"reward\": NaN}";
        assert_eq!(line(&mut protocol, without).reward, None);
        assert!(
            protocol
                .line("{\"epoch\": 4, \"metric\": -Infinity}")
                .unwrap()
                .unwrap()
                .metric
                .is_nan()
        );
    }

    #[test]
    fn what_is_no_such_line_is_quoted_with_its_number() {
        let neither = "is neither {\"epoch\": 3, \"metric\": 0.81} nor {\"reward\": 0.53}; anything else belongs on stderr";
        assert_eq!(
            refused(&["", "Epoch 1/5"]),
            format!("line 2 on stdout, `Epoch 1/5`, {neither}")
        );
        assert_eq!(
            refused(&["{\"loss\": 1}"]),
            format!("line 1 on stdout, `{{\"loss\": 1}}`, {neither}")
        );
        assert!(
            refused(&["{\"reward\": 1}", "{\"reward\": 2}"])
                .contains("line 2 on stdout, `{\"reward\": 2}`, comes after the reward")
        );
        assert!(refused(&["{\"epoch\": 0, \"metric\": 1}"]).contains("no whole number from 1"));
        assert!(refused(&["{\"epoch\": 1}"]).contains("has no metric"));
        assert!(refused(&["{\"reward\": \"0.5\"}"]).contains("a reward that is no number"));
        assert!(
            refused(&["{\"epoch\": 1, \"metric\": 0.5}"])
                .contains("printed 1 line on stdout and no reward")
        );
        assert!(refused(&[]).contains("printed nothing on stdout and no reward"));
        assert!(refused(&[&"x".repeat(5000)]).len() < 300);
    }

    #[test]
    fn where_a_child_may_be_pruned_its_epochs_ascend() {
        let mut protocol = Protocol::new(true);
        for epoch in [1, 3] {
            let line = format!("{{\"epoch\": {epoch}, \"metric\": 0.5}}");
            assert!(protocol.line(&line).is_ok());
        }
        let (cause, error) = protocol
            .line("{\"epoch\": 3, \"metric\": 0.5}")
            .unwrap_err();
        assert_eq!(cause, Cause::Protocol);
        assert!(
            error.contains("comes after epoch 3: early stopping needs epochs in ascending order"),
            "{error}"
        );
    }

    #[test]
    fn a_reward_that_is_not_finite_is_a_divergence() {
        for reward in ["NaN", "Infinity", "-Infinity", "null"] {
            assert_eq!(
                outcome_of(&[&format!("{{\"reward\": {reward}}}")])
                    .unwrap_err()
                    .0,
                Cause::Diverged
            );
        }
    }
}
