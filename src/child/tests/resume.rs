//! A child that is interrupted goes on where it was, and its numbers are those of one that never
//! was.

use super::*;

/// Keeps every checkpoint; the last one is taken up.
#[derive(Clone, Default)]
pub struct Shelf(pub Vec<Vec<u8>>);

impl Checkpoints for Shelf {
    fn load(&mut self) -> Option<Vec<u8>> {
        self.0.last().cloned()
    }
    fn store(&mut self, checkpoint: &[u8]) {
        self.0.push(checkpoint.to_vec());
    }
}

/// What must be the same bit for bit: reward, metric, and loss and metric of each epoch.
type Numbers = (u64, u64, Vec<(usize, u64, u64)>);

pub fn numbers(outcome: &Outcome, log: &Log) -> Numbers {
    let Outcome::Completed { reward, metric, .. } = outcome else {
        panic!("{outcome:?}")
    };
    let epoch = |epoch: &Epoch| {
        (
            epoch.epoch,
            epoch.train_loss.unwrap().to_bits(),
            epoch.metric.to_bits(),
        )
    };
    (
        reward.to_bits(),
        metric.to_bits(),
        log.epochs.iter().map(epoch).collect(),
    )
}

/// A log that keeps checkpoints beside these.
pub fn with(shelf: Shelf) -> Log {
    Log {
        shelf: Some(shelf),
        ..Log::default()
    }
}

/// Interrupts a training at each of these steps, and as if it had died after each checkpoint that
/// it keeps on its way.
pub fn assert_resumes(evaluator: &dyn Fn() -> Box<dyn Evaluator>, task: &Task, stops: &[usize]) {
    let mut quiet = Log::default();
    let outcome = evaluator().evaluate(task, &mut quiet);
    let expected = numbers(&outcome, &quiet);
    for &stop in stops {
        let mut first = Log {
            stop_after: Some(stop),
            ..with(Shelf::default())
        };
        assert_eq!(evaluator().evaluate(task, &mut first), Outcome::Stopped);
        let mut second = with(first.shelf.unwrap());
        let outcome = evaluator().evaluate(task, &mut second);
        assert_eq!(
            numbers(&outcome, &second),
            expected,
            "stopped after step {stop}"
        );
        assert_eq!(
            second.steps,
            quiet.steps - stop,
            "it goes on after step {stop}"
        );
    }
    let mut whole = with(Shelf::default());
    let outcome = evaluator().evaluate(task, &mut whole);
    assert_eq!(
        numbers(&outcome, &whole),
        expected,
        "keeping checkpoints changes nothing"
    );
    let shelf = whole.shelf.unwrap().0;
    assert!(shelf.len() > 3, "{} checkpoints", shelf.len());
    for kept in 1..=shelf.len() {
        let mut again = with(Shelf(shelf[..kept].to_vec()));
        let outcome = evaluator().evaluate(task, &mut again);
        assert_eq!(
            numbers(&outcome, &again),
            expected,
            "after checkpoint {kept} of {}",
            shelf.len()
        );
        assert!(again.steps < quiet.steps);
    }
    // Again and again, a few steps at a time.
    let mut shelf = Shelf::default();
    let mut steps = 0;
    loop {
        let mut log = Log {
            stop_after: Some(5),
            ..with(shelf)
        };
        let outcome = evaluator().evaluate(task, &mut log);
        steps += log.steps;
        if outcome != Outcome::Stopped {
            assert_eq!((numbers(&outcome, &log), steps), (expected, quiet.steps));
            return;
        }
        shelf = log.shelf.unwrap();
    }
}

fn settings() -> ChildSettings {
    let checkpoint_seconds = 6.0;
    ChildSettings {
        epochs: 4,
        batch_size: 20,
        schedule: Schedule::Cosine,
        reward_window: 2,
        checkpoint_seconds,
        ..ChildSettings::default()
    }
}

/// 13 steps an epoch, the last of one image; images are cropped and flipped.
fn evaluator(settings: ChildSettings) -> TrainEvaluator {
    let data = DataSettings {
        augment: true,
        upsample: 10,
        ..DataSettings::default()
    };
    let device = candle_core::Device::Cpu;
    TrainEvaluator::new(
        settings,
        Arc::new(textures(320, 1)),
        Arc::new(split(241, 79)),
        &data,
        device,
        pool(1),
        None,
    )
}

fn child() -> Task {
    task(Network::Conv(network()), 7)
}

#[test]
fn a_convolutional_child_goes_on_from_any_step() {
    // After 13 steps it stops in the validation.
    assert_resumes(
        &|| Box::new(evaluator(settings())),
        &child(),
        &[1, 7, 13, 14, 38, 39, 51],
    );
}

#[test]
fn with_0_seconds_every_epoch_but_the_last_is_kept() {
    let mut log = with(Shelf::default());
    evaluator(ChildSettings {
        checkpoint_seconds: 0.0,
        ..settings()
    })
    .evaluate(&child(), &mut log);
    assert_eq!(log.shelf.unwrap().0.len(), 3);
}

#[test]
fn what_is_torn_or_of_another_training_is_passed_over() {
    let mut other = Log {
        stop_after: Some(20),
        ..with(Shelf::default())
    };
    evaluator(settings()).evaluate(&task(Network::Conv(network()), 8), &mut other);
    let foreign = other.shelf.unwrap().0;
    let mut quiet = Log::default();
    let outcome = evaluator(settings()).evaluate(&child(), &mut quiet);
    let expected = numbers(&outcome, &quiet);
    let torn = foreign[0][..foreign[0].len() - 10].to_vec();
    for kept in [foreign, vec![torn], vec![Vec::new()]] {
        let mut log = with(Shelf(kept));
        let outcome = evaluator(settings()).evaluate(&child(), &mut log);
        assert_eq!(
            (numbers(&outcome, &log), log.steps),
            (expected.clone(), quiet.steps)
        );
    }
}

#[test]
fn seconds_are_those_of_the_whole_training() {
    let mut first = Log {
        stop_after: Some(30),
        ..with(Shelf::default())
    };
    evaluator(settings()).evaluate(&child(), &mut first);
    let mut second = with(first.shelf.clone().unwrap());
    let outcome = evaluator(settings()).evaluate(&child(), &mut second);
    let Outcome::Completed {
        seconds: Some(all), ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    let both = first.seconds.get() + second.seconds.get();
    assert!((both - 5.0..=both).contains(&all), "{all} of {both}");
    assert_eq!(second.epochs[..2], first.epochs, "told as they were");
    assert!(
        second.epochs[2].seconds > 13.0,
        "the third epoch began before: {:?}",
        second.epochs[2]
    );
    // What was trained before counts against the limit.
    let hasty = ChildSettings {
        max_seconds: Some(first.seconds.get() + 5.0),
        ..settings()
    };
    let mut third = with(first.shelf.unwrap());
    let outcome = evaluator(hasty).evaluate(&child(), &mut third);
    assert!(
        matches!(
            outcome,
            Outcome::Failed {
                cause: Cause::Timeout,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert!(third.steps < 6, "{}", third.steps);
}
