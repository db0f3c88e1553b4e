//! The recurrent-cell space (paper §4): each node's combination and activation, how c is injected,
//! and the two node indices. Must not know how decisions are sampled or what a cell is trained on.

use super::{Activation, Combination, given};
use super::{
    AdoptError, Architecture, Cell, CellNetwork, CellNode, Decision, DecisionError, Kind,
    LanguageModel, Network, Next, OptionValue, SizeLimits, Space, SpaceSettings, TreeCell,
};

/// Recurrent cells of one base number.
pub struct CellSpace {
    base: usize,
    combinations: Vec<Combination>,
    activations: Vec<Activation>,
    model: Option<LanguageModel>,
    kinds: Vec<Kind>,
    tokens: Vec<Token>,
    limits: SizeLimits,
}

/// One token of the list.
struct Token {
    name: String,
    options: usize,
    /// None: it has one option, so it is not predicted.
    kind: Option<usize>,
}

impl CellSpace {
    /// `settings` are free of problems. `model`: what the cells are trained in, so that an
    /// architecture knows its size.
    pub fn new(settings: &SpaceSettings, model: Option<LanguageModel>) -> Self {
        let nodes = 2 * settings.base - 1;
        let names = |names: Vec<&str>| {
            names
                .into_iter()
                .map(|name| OptionValue::Text(name.to_owned()))
                .collect::<Vec<_>>()
        };
        let indices: Vec<OptionValue> = (0..nodes)
            .map(|index| OptionValue::Integer(index as i64))
            .collect();
        let lists = [
            (
                "combination",
                names(settings.combinations.iter().map(|it| it.name()).collect()),
            ),
            (
                "activation",
                names(settings.activations.iter().map(|it| it.name()).collect()),
            ),
            ("cell_index", indices.clone()),
            ("inject_index", indices),
        ];
        let mut kinds = Vec::new();
        let lists = lists.map(|(name, options)| {
            let count = options.len();
            let kind = (options.len() > 1).then_some(kinds.len());
            if kind.is_some() {
                kinds.push(Kind {
                    name: name.to_owned(),
                    options,
                });
            }
            (count, kind)
        });
        let token = |name: String, list: usize| Token {
            name,
            options: lists[list].0,
            kind: lists[list].1,
        };
        let pair = |what: String| {
            [
                token(format!("{what} combination"), 0),
                token(format!("{what} activation"), 1),
            ]
        };
        let mut tokens: Vec<Token> = (0..nodes)
            .flat_map(|node| pair(format!("node {node}")))
            .collect();
        tokens.extend(pair("inject".into()));
        tokens.extend([
            token("cell index".into(), 2),
            token("inject index".into(), 3),
        ]);
        let combinations = settings.combinations.clone();
        let activations = settings.activations.clone();
        Self {
            base: settings.base,
            combinations,
            activations,
            model,
            kinds,
            tokens,
            limits: SizeLimits::new(settings),
        }
    }

    /// The tokens that are predicted, in order, each with its kind.
    fn predicted(&self) -> impl Iterator<Item = (&Token, usize)> {
        self.tokens
            .iter()
            .filter_map(|token| token.kind.map(|kind| (token, kind)))
    }

    /// The chosen option of every token, those that are not predicted among them.
    fn choices(&self, decisions: &[Decision]) -> Result<Vec<usize>, DecisionError> {
        let expected = self.predicted().count();
        if decisions.len() != expected {
            let problem = format!(
                "{expected} decisions describe a cell of base {}, here are {}",
                self.base,
                decisions.len()
            );
            return Err(DecisionError {
                position: decisions.len().min(expected) + 1,
                problem,
            });
        }
        let mut decisions = (1..).zip(decisions);
        let choice = |token: &Token| {
            if token.kind.is_none() {
                return Ok(0);
            }
            match decisions.next() {
                Some((_, Decision::Choice(option))) if *option < token.options => Ok(*option),
                Some((position, other)) => {
                    let kind = token
                        .kind
                        .map(|kind| self.kinds[kind].refusal(other))
                        .unwrap_or_default();
                    let problem = format!("{}: {kind}", token.name);
                    Err(DecisionError { position, problem })
                }
                None => Err(DecisionError {
                    position: expected,
                    problem: format!("{} is missing", token.name),
                }),
            }
        };
        self.tokens.iter().map(choice).collect()
    }
}

impl Space for CellSpace {
    fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    fn has_anchors(&self) -> bool {
        false
    }

    fn next(&self, _layers: usize, decisions: &[Decision]) -> Next {
        self.predicted()
            .nth(decisions.len())
            .map_or(Next::Done, |(_, kind)| Next::Choose { kind })
    }

    /// Every list has the same tokens.
    fn part(&self, _layers: usize, decisions: &[Decision]) -> usize {
        decisions.len()
    }

    fn build(&self, _layers: usize, decisions: &[Decision]) -> Result<Architecture, DecisionError> {
        let choices = self.choices(decisions)?;
        let node = |pair: &[usize]| CellNode {
            combination: self.combinations[pair[0]],
            activation: self.activations[pair[1]],
        };
        let (nodes, rest) = choices.split_at(choices.len() - 4);
        let tree = TreeCell::new(
            nodes.chunks_exact(2).map(node).collect(),
            node(rest),
            rest[2],
            rest[3],
        )
        .map_err(|error| DecisionError {
            position: decisions.len(),
            problem: error.to_string(),
        })?;
        let network = CellNetwork {
            cell: Cell::Tree(tree),
            model: self.model,
        };
        Ok(Architecture {
            version: 1,
            network: Network::Cell(network),
        })
    }

    /// Trees of any base, and the cells of the literature; the model around them is this search's.
    fn adopt(&self, given: Architecture) -> Result<(Architecture, Vec<Decision>), AdoptError> {
        let Network::Cell(given) = given.network else {
            return Err(given::other_kind(&given.network, "cell"));
        };
        Ok((
            Architecture {
                version: 1,
                network: Network::Cell(CellNetwork {
                    cell: given::cell(given.cell)?,
                    model: self.model,
                }),
            },
            Vec::new(),
        ))
    }

    fn limits(&self) -> SizeLimits {
        self.limits
    }

    fn layers(&self, _sampled: u64) -> usize {
        0
    }

    fn log10_size(&self, _layers: usize) -> f64 {
        self.predicted()
            .map(|(token, _)| (token.options as f64).log10())
            .sum()
    }

    fn describe(&self, _layers: usize, decisions: &[Decision]) -> Vec<(String, String)> {
        let named = self
            .predicted()
            .zip(decisions)
            .filter_map(|((token, kind), decision)| match decision {
                Decision::Choice(option) => Some((
                    token.name.clone(),
                    self.kinds[kind].options.get(*option)?.to_string(),
                )),
                Decision::Skips(_) => None,
            });
        named.collect()
    }
}
