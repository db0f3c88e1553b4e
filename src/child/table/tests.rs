//! What a table promises: the file's own rewards, and a clear sentence about every file that cannot
//! serve.

use super::*;
use crate::child::tests::Log;
use crate::space::{ImageShape, SpaceSettings};
use std::io::Write as _;

const SPACE: &str = "kind = \"choices\"\n[[decision]]\nname = \"op\"\noptions = [\"conv\", \"pool\"]\n[[decision]]\nname = \"drop out\"\n\
                     options = [0.0, 3.0]\n[[decision]]\nname = \"fixed\"\noptions = [true]\n";
const ROWS: &str = "note,drop_out,fixed,op,first,second,time,test\n,0,True,conv,0.1,0.2,5,a\n,3,true,conv,0.3,0.4,6,b\n\
                    ,0.0,TRUE,pool,0.5,0.6,7,c\n,3.0,true,pool,0.7,0.8,8,d\n";

fn space(text: &str) -> Arc<dyn Space> {
    let settings: SpaceSettings = toml::from_str(text).unwrap();
    assert_eq!(settings.problems(), vec![]);
    Arc::from(settings.build(
        ImageShape {
            channels: 3,
            height: 8,
            width: 8,
        },
        10,
    ))
}

fn load_for(
    space: &dyn Space,
    layers: usize,
    rows: &str,
    change: impl Fn(&mut TableSettings),
) -> Result<Table, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(rows.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mut settings = TableSettings {
        path: path.clone(),
        reward: vec!["first".into(), "second".into()],
        seconds: "time".into(),
        report: vec!["test".into()],
    };
    change(&mut settings);
    Table::load(&settings, space, layers).map_err(|error| error.to_string().replace(&path, "FILE"))
}

fn load(rows: &str) -> Result<Table, String> {
    load_for(space(SPACE).as_ref(), 0, rows, |_| ())
}

fn error(rows: &str) -> String {
    load(rows).err().unwrap()
}

fn evaluate(
    evaluator: &mut TableEvaluator,
    space: &dyn Space,
    seed: u64,
    decisions: &[Decision],
) -> Outcome {
    let architecture = space.build(0, decisions).unwrap();
    let task = Task {
        trial: 1,
        attempt: 0,
        seed,
        layers: 0,
        decisions: decisions.to_vec(),
        architecture,
        pruning: None,
    };
    evaluator.evaluate(&task, &mut Log::default())
}

#[test]
fn each_architecture_gets_its_own_row_and_each_trial_one_of_the_repeats() {
    let space = space(SPACE);
    let mut evaluator = TableEvaluator::new(Arc::new(load(ROWS).unwrap()), space.clone());
    for (decisions, low, seconds) in [
        ([0, 0], 0.1, 5.0),
        ([0, 1], 0.3, 6.0),
        ([1, 0], 0.5, 7.0),
        ([1, 1], 0.7, 8.0),
    ] {
        let decisions = decisions.map(Decision::Choice);
        let mut drawn = [0_usize; 2];
        for seed in 0..200 {
            let outcome = evaluate(&mut evaluator, space.as_ref(), seed, &decisions);
            assert_eq!(
                outcome,
                evaluate(&mut evaluator, space.as_ref(), seed, &decisions)
            );
            let Outcome::Completed {
                reward,
                metric,
                seconds: Some(taken),
            } = outcome
            else {
                panic!("{outcome:?}")
            };
            assert_eq!((reward, taken), (metric, seconds));
            let repeat = usize::from(reward > low);
            assert!((reward - low - 0.1 * repeat as f64).abs() < 1e-12);
            drawn[repeat] += 1;
        }
        // Fair to five standard deviations.
        assert!(drawn[0].abs_diff(100) < 36, "{drawn:?}");
    }
}

#[test]
fn report_columns_are_shown_as_they_stand() {
    let space = space(SPACE);
    let table = load(ROWS).unwrap();
    let of =
        |decisions: [usize; 2]| table.report(space.as_ref(), 0, &decisions.map(Decision::Choice));
    assert_eq!(of([0, 1]), [("test".to_owned(), "b".to_owned())]);
    assert_eq!(of([1, 0]), [("test".to_owned(), "c".to_owned())]);
}

#[test]
fn a_convolutional_space_finds_its_filters_and_skips() {
    let space = space("layers = 2\nfilters = [8, 16]\nfilter_height = [3]\nfilter_width = [3]\n");
    let mut rows =
        "layer_1_filters,layer 2 filters,layer_2_skip_1,first,second,time,test\n".to_owned();
    for row in 0..8 {
        rows += &format!(
            "{},{},{},{row},{row},1,\n",
            8 << (row >> 2),
            8 << (row >> 1 & 1),
            row & 1
        );
    }
    let mut evaluator = TableEvaluator::new(
        Arc::new(load_for(space.as_ref(), 2, &rows, |_| ()).unwrap()),
        space.clone(),
    );
    let decisions = vec![
        Decision::Choice(1),
        Decision::Skips(vec![]),
        Decision::Choice(0),
        Decision::Skips(vec![1]),
    ];
    let architecture = space.build(2, &decisions).unwrap();
    let task = Task {
        trial: 1,
        attempt: 0,
        seed: 1,
        layers: 2,
        decisions,
        architecture,
        pruning: None,
    };
    let outcome = evaluator.evaluate(&task, &mut Log::default());
    assert_eq!(
        outcome,
        Outcome::Completed {
            reward: 5.0,
            metric: 5.0,
            seconds: Some(1.0)
        }
    );
}

#[test]
fn a_decision_that_is_not_made_is_an_empty_cell() {
    let text = "kind = \"choices\"\n[[decision]]\nname = \"op\"\noptions = [\"conv\", \"pool\"]\n[[decision]]\nname = \"kernel\"\n\
                options = [1, 3]\nwhen = { op = \"conv\" }\n";
    let space = space(text);
    let rows = "op,kernel,first,second,time,test\nconv,1,0.1,0.1,1,\nconv,3,0.2,0.2,1,\npool,,0.3,0.3,1,\n";
    let mut evaluator = TableEvaluator::new(
        Arc::new(load_for(space.as_ref(), 0, rows, |_| ()).unwrap()),
        space.clone(),
    );
    let mut reward = |decisions: &[usize]| {
        let decisions: Vec<Decision> = decisions
            .iter()
            .map(|option| Decision::Choice(*option))
            .collect();
        let Outcome::Completed { reward, .. } =
            evaluate(&mut evaluator, space.as_ref(), 1, &decisions)
        else {
            panic!("no reward")
        };
        reward
    };
    assert_eq!(
        [reward(&[0, 0]), reward(&[0, 1]), reward(&[1])],
        [0.1, 0.2, 0.3]
    );
    let filled = load_for(
        space.as_ref(),
        0,
        &rows.replace("pool,,", "pool,1,"),
        |_| (),
    )
    .err()
    .unwrap();
    assert_eq!(
        filled,
        "FILE: no row for op=pool, kernel empty; every architecture of the space needs one"
    );
}

#[test]
fn rows_that_are_missing_or_there_twice_are_named() {
    assert_eq!(
        error(&ROWS.replace(",3.0,true,pool,0.7,0.8,8,d\n", "")),
        "FILE: no row for fixed=true, op=pool, drop out=3.0; every architecture of the space needs one"
    );
    assert_eq!(
        error(&format!("{ROWS},3,true,conv,1,1,1,x\n")),
        "FILE: line 6: the same architecture as line 3; each needs one row"
    );
    // Rows of other architectures do no harm.
    assert!(load(&format!("{ROWS},9,true,conv,1,1,1,x\n")).is_ok());
}

#[test]
fn columns_that_are_missing_or_there_twice_are_named() {
    assert_eq!(
        error(&ROWS.replace("op,first", "opp,first")),
        "FILE: line 1: no column \"op\" (nearest: \"opp\"); the columns are note, drop_out, fixed, opp, first, second, time, test"
    );
    assert_eq!(
        error(&ROWS.replace("note", "op")),
        "FILE: line 1: 2 columns are named \"op\"; one is needed"
    );
    let twice = load_for(space(SPACE).as_ref(), 0, ROWS, |settings| {
        settings.reward[1] = "first".into();
    });
    assert_eq!(
        twice.err().unwrap(),
        "FILE: column \"first\" is used twice; decisions, rewards and seconds need one each"
    );
}

#[test]
fn numbers_that_are_none_are_named_with_their_line() {
    assert_eq!(
        error(&ROWS.replace("0.4", "high")),
        "FILE: line 3: column \"second\" holds \"high\"; a finite number is needed"
    );
    assert_eq!(
        error(&ROWS.replace("0.4", "nan")),
        "FILE: line 3: column \"second\" holds \"nan\"; a finite number is needed"
    );
    assert_eq!(
        error(&ROWS.replace(",6,", ",-6,")),
        "FILE: line 3: column \"time\" holds \"-6\"; a number of seconds, 0 or more, is needed"
    );
    assert!(error(&ROWS.replace(",8,d", "")).starts_with("FILE: is no CSV file: "));
    assert_eq!(
        error(""),
        "FILE: is empty; its first line must name the columns"
    );
    let absent = load_for(space(SPACE).as_ref(), 0, ROWS, |settings| {
        settings.path = "no/such.csv".into();
    });
    assert_eq!(
        absent.err().unwrap(),
        "no/such.csv: there is no such file (child.table.path is relative to the working directory)"
    );
}

#[test]
fn files_of_spreadsheet_programs_are_read() {
    let space = space(SPACE);
    let rewards = |rows: &str| {
        let table = load(rows).unwrap_or_else(|error| panic!("{error}: {rows}"));
        let mut evaluator = TableEvaluator::new(Arc::new(table), space.clone());
        [[0, 0], [0, 1], [1, 0], [1, 1]].map(|decisions| {
            let decisions = decisions.map(Decision::Choice);
            evaluate(&mut evaluator, space.as_ref(), 5, &decisions)
        })
    };
    let expected = rewards(ROWS);
    let semicolons = ROWS.replace(',', ";");
    for rows in [
        semicolons.clone(),
        // Where a comma is the decimal point, of options too.
        semicolons.replace("0.", "0,").replace("3.0", "3,0"),
        ROWS.replace(',', "\t"),
        ROWS.replace(',', "|"),
        format!("\u{feff}{ROWS}"),
        format!("\u{feff}{}", semicolons.replace('\n', "\r\n")),
        semicolons.replace("note;drop_out", "\"note\";\"drop_out\""),
    ] {
        assert_eq!(rewards(&rows), expected, "{rows}");
    }
    assert_eq!(
        error(&ROWS.replace(',', "\t").replace("0.4", "0,4")),
        "FILE: line 3: column \"second\" holds \"0,4\"; a finite number is needed"
    );
    assert_eq!(
        error(&semicolons.replace("op;first", "opp;first")),
        "FILE: line 1: no column \"op\" (nearest: \"opp\"); the columns (separated by semicolons) are note, drop_out, fixed, opp, \
         first, second, time, test"
    );
}

#[test]
fn what_is_no_file_or_no_utf_8_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    let message = || {
        let set = |settings: &mut TableSettings| settings.path = path.to_str().unwrap().into();
        let error = load_for(space(SPACE).as_ref(), 0, ROWS, set).err().unwrap();
        error.replace(path.to_str().unwrap(), "FILE")
    };
    let utf_16: Vec<u8> = "\u{feff}op,first"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::write(&path, utf_16).unwrap();
    assert_eq!(message(), "FILE: is UTF-16 text; save it as UTF-8");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let not_a_file = "FILE: is no regular file; child.table.path must name a CSV file";
    assert_eq!(message(), not_a_file);
    std::fs::remove_dir(&path).unwrap();
    // Nobody writes into this pipe: to open it would wait for ever.
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    assert_eq!(message(), not_a_file);
}

#[test]
fn options_that_read_the_same_are_refused_not_mixed_up() {
    let space =
        space("kind = \"choices\"\n[[decision]]\nname = \"op\"\noptions = [\"7\", \"07\"]\n");
    let error = load_for(
        space.as_ref(),
        0,
        "op,first,second,time,test\n7,1,1,1,\n",
        |_| (),
    )
    .err()
    .unwrap();
    assert!(
        error.starts_with("FILE: the row of op=07 is another architecture's too: "),
        "{error}"
    );
}

#[test]
fn a_space_beyond_ten_million_architectures_is_refused_before_the_file_is_read() {
    let space = space("layers = 6\n");
    let error = load_for(space.as_ref(), 6, "", |_| ()).err().unwrap();
    assert_eq!(
        error,
        "FILE: the space has 10^15.4 architectures; a table is checked row by row and can serve at most 10^7"
    );
}
