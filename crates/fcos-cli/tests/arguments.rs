//! Help texts and arguments, without running a command.

use clap::{Command, CommandFactory, Parser};
use fcos_cli::Cli;

/// The command and all below it, each with its names from `fcos` on.
fn all_commands() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    let mut open = vec![("fcos".to_string(), Cli::command())];
    while let Some((name, command)) = open.pop() {
        let below = command.get_subcommands();
        open.extend(below.map(|c| (format!("{name} {}", c.get_name()), c.clone())));
        found.push((name, command));
    }
    found
}

/// The command lines in a help text, joined where they are continued.
fn examples(help: &str) -> Vec<String> {
    let joined = help.replace("\\\n", " ");
    let (_, examples) = joined.split_once("Examples:\n").unwrap_or_default();
    let lines = examples.lines().map(str::trim);
    let lines = lines.filter(|line| line.starts_with("fcos "));
    lines.map(String::from).collect()
}

#[test]
fn every_help_text_has_examples_that_parse() {
    Cli::command().debug_assert();
    let commands = all_commands();
    assert_eq!(commands.len(), 1 + 9 + 2, "{commands:?}");
    for (name, mut command) in commands {
        let help = command.render_long_help().to_string();
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{name}: {help}");
        for example in examples {
            assert!(
                example.starts_with(&name),
                "{example} in the help of {name}"
            );
            let words = example.split_whitespace().take_while(|word| *word != "&&");
            if let Err(error) = Cli::try_parse_from(words) {
                assert_eq!(error.exit_code(), 0, "{example}: {error}"); // help itself
            }
        }
    }
}

#[test]
fn help_lists_what_the_library_has() {
    let commands = all_commands();
    let help = |name: &str| {
        let found = commands.iter().find(|(n, _)| n == name).expect(name);
        found.1.clone().render_help().to_string()
    };
    let train = help("fcos train");
    for preset in fcos::train::TrainConfig::preset_names() {
        assert!(train.contains(preset), "{preset}: {train}");
    }
    let convert = help("fcos convert");
    for recipe in fcos::DetectorConfig::recipe_names() {
        assert!(convert.contains(recipe), "{recipe}: {convert}");
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for line in [
        "",
        "frain",
        "train --train-annotations a.json",
        "train --val-annotations a.json",
        "predict street.jpg",
        "predict --weights w.safetensors",
        "predict --weights w.safetensors --device tpu street.jpg",
        "evaluate --annotations a.json",
        "evaluate --annotations a.json --weights w.safetensors",
        "evaluate --annotations a.json --weights w --images i --detections d.json",
        "convert --input model.pth",
        "inspect",
        "stats --annotations a.json --rule nearest",
        "stats --annotations a.json --low-quality 2",
        "assign --annotations a.json",
        "assign --rule nearest",
        "data",
        "data generate --output o --size 10",
        "data check --annotations a.json",
    ] {
        let words = ["fcos"].into_iter().chain(line.split_whitespace());
        let error = Cli::try_parse_from(words).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
