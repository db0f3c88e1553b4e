//! Gradients against finite differences of the layer's own values.

use super::*;

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for name in NAMED {
        let program = CellProgram::named(name).unwrap();
        let shape = CellShape {
            input: 3,
            hidden: 5,
            batch: 2,
            steps: 4,
        };
        let mut layer = CellLayer::new(&program, shape, pool(1)).unwrap();
        let count = layer.parameter_count();
        assert_eq!(
            count,
            layer
                .parameters()
                .iter()
                .map(ParameterSlot::len)
                .sum::<usize>()
        );
        let parameters = numbers(11, count, 0.8);
        let x = numbers(2, 4 * 2 * 3, 1.0);
        let weights = numbers(3, 4 * 2 * 5, 1.0);
        let start = numbers(4, program.states() * 2 * 5, 0.5);
        let input = [0.0, 2.0, 1.5, 1.0, 0.5, 2.0];
        let recurrent = [2.0, 0.0, 1.0, 1.0, 1.5, 1.0, 0.5, 0.0, 2.0, 1.0];
        let masks = Masks {
            input: Some(&input),
            recurrent: Some(&recurrent),
        };
        let mut out = vec![0.0; weights.len()];
        layer.forward(&parameters, &x, masks, &mut start.clone(), &mut out);
        let mut gradient = vec![f32::NAN; count];
        let mut d_x = vec![f32::NAN; x.len()];
        layer.backward(&parameters, &weights, &mut gradient, &mut d_x);
        let mut loss = |parameters: &[f32], x: &[f32]| {
            layer.forward(parameters, x, masks, &mut start.clone(), &mut out);
            out.iter()
                .zip(&weights)
                .map(|(&o, &w)| f64::from(o) * f64::from(w))
                .sum::<f64>()
        };
        let step = 1e-3_f32;
        for (index, d) in gradient
            .iter()
            .enumerate()
            .chain(d_x.iter().enumerate().map(|(index, d)| (count + index, d)))
        {
            let mut moved = |by: f32| {
                let mut parameters = parameters.clone();
                let mut x = x.clone();
                *parameters.iter_mut().chain(&mut x).nth(index).unwrap() += by;
                loss(&parameters, &x)
            };
            let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
            assert!(
                (slope - f64::from(*d)).abs() < 2e-3,
                "{name}, index {index}: {slope} and {d}"
            );
        }
    }
}
