//! Spaces with rewards in closed form or from a table, each with a known optimum: what a strategy
//! is tried on. An instance is drawn from its seed. Must not know strategies.

use crate::tables;
use netwright::random::{Key, Purpose, Stream};
use netwright::space::{
    Allowed, Decision, DecisionSettings, ImageShape, Next, OptionValue, SkipConnections, Space,
    SpaceKind, SpaceSettings,
};
use rand::RngExt;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

pub const NAMES: [&str; 6] = ["nk", "noisy-nk", "numbers", "conditional", "conv", "cell"];

/// The true value of a list.
pub type Value = Box<dyn Fn(usize, &[Decision]) -> f64>;

pub struct Problem {
    pub space: Box<dyn Space>,
    pub value: Value,
    /// Standard deviation of a reward around its value.
    pub noise: f64,
    /// Rewards of a table, by list; none: the value with noise.
    pub repeats: HashMap<Vec<usize>, Vec<f64>>,
    pub optimum: f64,
}

/// All problems, those of files read once.
#[derive(Default)]
pub struct Problems {
    /// The file of NAS-Bench-Macro.
    pub nas_bench_macro: Option<PathBuf>,
    /// A folder of tables.
    pub tables: Option<PathBuf>,
    read: RefCell<HashMap<String, Rc<Problem>>>,
}

impl Problems {
    /// Every problem that there is.
    pub fn names(&self) -> Vec<String> {
        let files = self.tables.iter().flat_map(|folder| {
            let files = std::fs::read_dir(folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let paths = files.filter_map(|file| Some(file.ok()?.path()));
            paths.filter(|path| path.extension().is_some_and(|end| end == "csv"))
        });
        let mut files: Vec<String> = files
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        files.sort();
        let table = self.nas_bench_macro.iter().map(|_| "macro".to_owned());
        let own = NAMES.map(str::to_owned);
        table.chain(own).chain(files).collect()
    }

    /// The instance of a seed; those of files do not depend on it.
    pub fn get(&self, name: &str, seed: u64) -> Rc<Problem> {
        let drawn = match name {
            "nk" => nk(seed, 0.0),
            "noisy-nk" => nk(seed, 0.05),
            "numbers" => numbers(seed),
            "conditional" => conditional(seed),
            "conv" => conv(seed),
            "cell" => cell(seed),
            _ => {
                let mut read = self.read.borrow_mut();
                let problem = read
                    .entry(name.to_owned())
                    .or_insert_with(|| Rc::new(self.read(name)));
                return problem.clone();
            }
        };
        Rc::new(drawn)
    }

    fn read(&self, name: &str) -> Problem {
        if name == "macro" {
            let file = self.nas_bench_macro.as_ref();
            return tables::nas_bench_macro(file.expect("--macro FILE"));
        }
        let names = self.names();
        let folder = self.tables.as_ref();
        let folder = folder.filter(|_| names.iter().any(|known| known == name));
        let folder = folder
            .unwrap_or_else(|| panic!("{name}: there is no such problem; {}", names.join(", ")));
        tables::table(&folder.join(format!("{name}.csv")))
    }
}

impl Problem {
    pub fn space(&self) -> &dyn Space {
        self.space.as_ref()
    }

    pub fn optimum(&self) -> f64 {
        self.optimum
    }

    /// Reward, and true value.
    pub fn evaluate(&self, layers: usize, list: &[Decision], stream: &mut Stream) -> (f64, f64) {
        let value = (self.value)(layers, list);
        let reward = match self.repeats.get(&options(list)) {
            Some(repeats) => repeats[stream.random_range(0..repeats.len())],
            None => value + self.noise * normal(stream),
        };
        (reward, value)
    }

    /// With the highest value that many climbs find as the optimum.
    fn climbed(space: Box<dyn Space>, value: Value, noise: f64, layers: usize) -> Self {
        let mut stream = Key::seed(99).stream(Purpose::Reference);
        let mut optimum = f64::NEG_INFINITY;
        for _ in 0..24 {
            let mut list = drawn(space.as_ref(), layers, Vec::new(), &mut stream);
            let mut best = value(layers, &list);
            let mut failures = 0;
            while failures < 600 {
                let cut = stream.random_range(0..list.len());
                let mut other = list.clone();
                let fresh = drawn(space.as_ref(), layers, other[..cut].to_vec(), &mut stream);
                other[cut] = fresh[cut].clone();
                // The tail stays where it still fits.
                let fits = space.build(layers, &other).is_ok();
                let other = if fits { other } else { fresh };
                let found = value(layers, &other);
                if found > best {
                    (list, best, failures) = (other, found, 0);
                } else {
                    failures += 1;
                }
            }
            optimum = optimum.max(best);
        }
        Self {
            space,
            value,
            noise,
            repeats: HashMap::new(),
            optimum,
        }
    }
}

pub fn options(list: &[Decision]) -> Vec<usize> {
    let option = |decision: &Decision| match decision {
        Decision::Choice(option) => *option,
        Decision::Skips(bits) => bits.iter().fold(1, |sum, bit| 2 * sum + usize::from(*bit)),
    };
    list.iter().map(option).collect()
}

fn normal(stream: &mut Stream) -> f64 {
    let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()
}

/// Uniform in 0..1, from the instance and what it belongs to.
fn hashed(seed: u64, parts: &[usize]) -> f64 {
    let mut hash = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    for part in parts {
        hash = (hash ^ *part as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// A list that begins so and is drawn uniformly from there.
fn drawn(
    space: &dyn Space,
    layers: usize,
    mut list: Vec<Decision>,
    stream: &mut Stream,
) -> Vec<Decision> {
    loop {
        list.push(match space.next(layers, &list) {
            Next::Done => return list,
            Next::Choose { kind } => {
                Decision::Choice(stream.random_range(0..space.kinds()[kind].options.len()))
            }
            Next::Anchor { earlier } => Decision::Skips(
                (0..earlier)
                    .map(|_| u8::from(stream.random::<bool>()))
                    .collect(),
            ),
        });
    }
}

pub fn decision(name: &str, options: Vec<OptionValue>) -> DecisionSettings {
    DecisionSettings {
        name: name.into(),
        options,
        when: [].into(),
    }
}

pub fn words(count: usize) -> Vec<OptionValue> {
    (0..count)
        .map(|option| OptionValue::Text(format!("option {option}")))
        .collect()
}

pub fn choices(decision: Vec<DecisionSettings>) -> Box<dyn Space> {
    let settings = SpaceSettings {
        kind: SpaceKind::Choices,
        decision,
        ..SpaceSettings::default()
    };
    built(&settings)
}

fn built(settings: &SpaceSettings) -> Box<dyn Space> {
    let image = ImageShape {
        channels: 3,
        height: 32,
        width: 32,
    };
    settings.build(image, 10)
}

/// Kauffman's NK landscape: nine decisions of four options, the worth of each depends on two more.
fn nk(seed: u64, noise: f64) -> Problem {
    const N: usize = 9;
    let value = move |list: &[usize]| -> f64 {
        let worth = |i: usize| hashed(seed, &[i, list[i], list[(i + 1) % N], list[(i + 4) % N]]);
        (0..N).map(worth).sum::<f64>() / N as f64
    };
    let all = 0..4_usize.pow(N as u32);
    let list = |number: usize| (0..N).map(|i| number >> (2 * i) & 3).collect::<Vec<_>>();
    let optimum = all.map(|number| value(&list(number))).fold(0.0, f64::max);
    Problem {
        space: choices(
            (0..N)
                .map(|i| decision(&format!("locus {i}"), words(4)))
                .collect(),
        ),
        value: Box::new(move |_, decisions| value(&options(decisions))),
        noise,
        repeats: HashMap::new(),
        optimum,
    }
}

/// As hyperparameters behave: integers and floats with a best value each, some that matter little,
/// a valley between two, and one word.
fn numbers(seed: u64) -> Problem {
    let floats = |count: i32| {
        (0..count)
            .map(|i| OptionValue::Float(10_f64.powi(-i)))
            .collect()
    };
    let integers = |count: i64| (0..count).map(|i| OptionValue::Integer(16 << i)).collect();
    let sizes = [8, 7, 6, 6, 5, 4, 3];
    let list = vec![
        decision("learning rate", floats(8)),
        decision("weight decay", floats(7)),
        decision("width", integers(6)),
        decision("batch", integers(6)),
        decision("depth", integers(5)),
        decision("warm-up", integers(4)),
        decision("activation", words(3)),
    ];
    let value = move |list: &[usize]| -> f64 {
        let at = |i: usize| {
            // Floats fall with the option's number.
            let last = (sizes[i] - 1) as f64;
            if i < 2 {
                1.0 - list[i] as f64 / last
            } else {
                list[i] as f64 / last
            }
        };
        let best = |i: usize| hashed(seed, &[i, 1]);
        let weight = |i: usize| [1.0, 0.5, 0.4, 0.3, 0.2, 0.03][i];
        let bowl: f64 = (0..6).map(|i| weight(i) * (at(i) - best(i)).powi(2)).sum();
        // The rate goes with the batch.
        let valley = 1.2 * (at(0) - 0.6 * at(3) - best(0) + 0.6 * best(3)).powi(2);
        let word = 0.05 * hashed(seed, &[7, list[6]]) + 0.02 * hashed(seed, &[8, list[6], list[4]]);
        (word - bowl - valley).exp()
    };
    let mut optimum = 0.0_f64;
    let mut counter = [0; 7];
    'all: loop {
        optimum = optimum.max(value(&counter));
        for (digit, size) in counter.iter_mut().zip(sizes) {
            *digit += 1;
            if *digit < size {
                continue 'all;
            }
            *digit = 0;
        }
        break;
    }
    Problem {
        space: choices(list),
        value: Box::new(move |_, decisions| value(&options(decisions))),
        noise: 0.01,
        repeats: HashMap::new(),
        optimum,
    }
}

/// A block of four kinds, each with decisions of its own, twice; and two decisions for both.
fn conditional(seed: u64) -> Problem {
    let mut list = vec![
        decision("width", (0..4).map(OptionValue::Integer).collect()),
        decision("order", words(3)),
    ];
    for block in 0..2 {
        let kind = format!("block {block}");
        list.push(decision(&kind, words(4)));
        for owner in 0..3 {
            for own in 0..2 {
                let options = if own == 0 {
                    words(3)
                } else {
                    (0..5).map(OptionValue::Integer).collect()
                };
                let mut inner = decision(&format!("{kind} {owner} {own}"), options);
                let text = OptionValue::Text(format!("option {owner}"));
                inner.when = [(kind.clone(), Allowed::One(text))].into();
                list.push(inner);
            }
        }
    }
    let space = choices(list);
    let names = choices_of(space.as_ref());
    let value = move |list: &[Decision]| -> f64 {
        let decided = names(list);
        let mut sum = 0.0;
        for (index, (kind, option)) in decided.iter().enumerate() {
            sum += hashed(seed, &[*kind, *option]);
            if let Some((other, second)) = decided.get(index + 1) {
                sum += 0.7 * hashed(seed, &[*kind, *option, *other, *second]);
            }
        }
        sum / decided.len() as f64
    };
    Problem::climbed(space, Box::new(move |_, list| value(list)), 0.02, 0)
}

/// Kind and option of every decision of a list.
fn choices_of(space: &dyn Space) -> impl Fn(&[Decision]) -> Vec<(usize, usize)> + use<> {
    // Which decisions exist depends on earlier ones: asked of the same space, made once more.
    let kinds: Vec<String> = space.kinds().iter().map(|kind| kind.name.clone()).collect();
    move |list| {
        let mut decided = Vec::new();
        let mut block = [None; 2];
        let mut taken = options(list).into_iter();
        for (kind, name) in kinds.iter().enumerate() {
            let mut parts = name
                .split(' ')
                .skip(1)
                .map(|part| part.parse::<usize>().ok());
            let exists = match (parts.next().flatten(), parts.next().flatten()) {
                (Some(number), Some(owner)) => block[number] == Some(owner),
                _ => true,
            };
            if !exists {
                continue;
            }
            let Some(option) = taken.next() else { break };
            if let (Some(number), None) = (name.strip_prefix("block "), name.split(' ').nth(2)) {
                block[number.parse::<usize>().unwrap_or(0)] = Some(option);
            }
            decided.push((kind, option));
        }
        decided
    }
}

/// Convolutional networks that grow from four layers to seven, with skip connections: each layer's
/// sizes, those of neighbours together, and each connection are worth something.
fn conv(seed: u64) -> Problem {
    let settings = SpaceSettings {
        layers: 4,
        layers_step: 1,
        layers_every: 100,
        layers_max: Some(6),
        filter_height: vec![1, 3, 5, 7],
        filter_width: vec![1, 3, 5],
        filters: vec![24, 36, 48, 64],
        skip_connections: SkipConnections::Predicted,
        ..SpaceSettings::default()
    };
    let value = move |layers: usize, list: &[Decision]| -> f64 {
        let bowl = |part: usize, option: usize, count: usize| {
            let best = hashed(seed, &[part, 77]);
            1.0 - (option as f64 / (count - 1) as f64 - best).powi(2)
        };
        let mut sum = 0.0;
        for (layer, own) in list.chunks(4).enumerate() {
            let [height, width, filters] = [0, 1, 2].map(|i| options(&own[i..=i])[0]);
            sum += 0.5 * bowl(layer / 2, height, 4) + 0.3 * bowl(10 + layer / 2, width, 3);
            sum += 0.8 * bowl(20 + layer, filters, 4);
            sum += 0.3 * hashed(seed, &[layer / 2, height, width, filters]);
            if let Decision::Skips(bits) = &own[3] {
                for (earlier, bit) in bits.iter().enumerate() {
                    sum += 0.4 * (hashed(seed, &[30, layer - earlier, usize::from(*bit)]) - 0.5);
                }
            }
        }
        // Deeper is a little better.
        sum / layers as f64 + 0.02 * layers as f64
    };
    Problem::climbed(built(&settings), Box::new(value), 0.02, 6)
}

/// Recurrent cells of base 4: each node's functions, and those of a node with its parent's.
fn cell(seed: u64) -> Problem {
    let settings = SpaceSettings {
        kind: SpaceKind::Cell,
        base: 4,
        ..SpaceSettings::default()
    };
    let value = move |_: usize, list: &[Decision]| -> f64 {
        let options = options(list);
        let nodes: Vec<&[usize]> = options.chunks(2).collect();
        let worth = |i: usize| {
            let own = hashed(seed, &[i, nodes[i][0], nodes[i][1]]);
            let parent = &nodes[(4 + i / 2).min(nodes.len() - 2)];
            own + 0.7 * hashed(seed, &[i, nodes[i][1], parent[0], parent[1]])
        };
        (0..nodes.len()).map(worth).sum::<f64>() / nodes.len() as f64
    };
    Problem::climbed(built(&settings), Box::new(value), 0.02, 0)
}
