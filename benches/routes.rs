//! Convolutions by every route that there is for them, in turn, on one thread and with every
//! instruction set: forward, the gradient of the input, the gradient of the weights. The table in
//! `src/kernels/convnet/convolution/route.rs` was made from what it prints. Knows nothing of
//! networks.
//!
//! `cargo bench --bench routes -- [CHANNELS,HEIGHT,WIDTH,FILTERS,FILTER_HEIGHT,FILTER_WIDTH,STRIDE_HEIGHT,STRIDE_WIDTH]…`
//! prints a row for each route; without arguments, of the layers that the shipped configs' children
//! have most of.

#[expect(dead_code, reason = "memory is not measured here")]
mod measure;

use measure::time;
use netwright::kernels::ops::{Passes, Route};
use netwright::kernels::{Geometry, Isa};

const BATCH: usize = 64;
const ROUNDS: usize = 5;
/// Of one measurement, at least.
const SECONDS: f64 = 0.03;
const ROUTES: [Route; 4] = [Route::Direct, Route::Pixels, Route::Tiles, Route::Phased];

fn geometry(numbers: &[usize]) -> Geometry {
    let &[
        channels,
        height,
        width,
        filters,
        filter_height,
        filter_width,
        stride_height,
        stride_width,
    ] = numbers
    else {
        panic!("eight numbers make a layer, not {}", numbers.len())
    };
    Geometry {
        channels,
        height,
        width,
        filters,
        filter_height,
        filter_width,
        stride_height,
        stride_width,
    }
}

/// The first, second and third layers of children that halve the picture.
fn layers() -> Vec<Geometry> {
    let filters = [
        (1, 3),
        (3, 1),
        (1, 5),
        (1, 7),
        (7, 1),
        (3, 3),
        (3, 5),
        (5, 5),
        (3, 7),
        (5, 7),
        (7, 7),
    ];
    let layers = filters.into_iter().flat_map(|(height, width)| {
        let first = [24, 64].map(|filters| [3, 32, 32, filters, height, width, 2, 2]);
        let later = [24, 36, 48, 64].into_iter().flat_map(move |channels| {
            [16, 8].map(|side| [channels, side, side, channels, height, width, 2, 2])
        });
        first.into_iter().chain(later).collect::<Vec<_>>()
    });
    layers.map(|numbers| geometry(&numbers)).collect()
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0)
        .collect()
}

/// Medians of forward, input's gradient and weights' gradient, in milliseconds of CPU time.
fn measure(routes: &mut [Passes]) -> Vec<[f64; 3]> {
    let mut seen = vec![[const { Vec::new() }; 3]; routes.len()];
    for _ in 0..ROUNDS {
        for (passes, seen) in routes.iter_mut().zip(&mut seen) {
            seen[0].push(time(SECONDS, || passes.forward()).1);
            let both = time(SECONDS, || passes.backward(true)).1;
            let weights = time(SECONDS, || passes.backward(false)).1;
            seen[1].push(both - weights);
            seen[2].push(weights);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    seen.into_iter().map(|seen| seen.map(median)).collect()
}

fn main() {
    let asked: Vec<Geometry> = std::env::args()
        .skip(1)
        .filter(|word| word.contains(','))
        .map(|word| {
            let numbers: Vec<usize> = word
                .split(',')
                .map(|number| number.parse().expect("whole numbers"))
                .collect();
            geometry(&numbers)
        })
        .collect();
    let layers = if asked.is_empty() { layers() } else { asked };
    println!(
        "| layer | instruction set | route | forward, ms | input's gradient | weights' gradient | step | the table's |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for g in layers {
        let x = numbers(BATCH * g.channels * g.height * g.width);
        let w = numbers(g.filters * g.taps());
        let dy = numbers(BATCH * g.filters * g.out_height() * g.out_width());
        for isa in Isa::available() {
            let passes =
                |route| Passes::new(isa, route, (&g, BATCH), &x, &w, &dy).expect("a layer");
            let table = passes(None).route();
            let mut routes: Vec<Passes> = ROUTES
                .into_iter()
                .map(|route| passes(Some(route)))
                .zip(ROUTES)
                .filter(|(passes, route)| passes.route() == *route)
                .map(|(passes, _)| passes)
                .collect();
            for (times, passes) in measure(&mut routes).into_iter().zip(&routes) {
                println!(
                    "| {}×{}×{}, {} filters {}×{}, stride {}×{} | {} | {:?} | {:.3} | {:.3} | {:.3} | {:.3} | {} |",
                    g.channels,
                    g.height,
                    g.width,
                    g.filters,
                    g.filter_height,
                    g.filter_width,
                    g.stride_height,
                    g.stride_width,
                    isa.name(),
                    passes.route(),
                    times[0],
                    times[1],
                    times[2],
                    times.iter().sum::<f64>(),
                    if passes.route() == table { "yes" } else { "" },
                );
            }
        }
    }
}
