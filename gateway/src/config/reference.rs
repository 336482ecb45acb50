//! The reference page of all settings, made from the declarations themselves.

use super::ServeArgs;
use super::localstack::VARIABLES;
use clap::Args;
use std::fmt::Write as _;

pub fn page() -> String {
    let mut page = String::from(
        "# Settings\n\n<!-- Made by `warmpod reference`; a test compares it. -->\n\nEach flag of `warmpod serve` has a variable. A value that cannot be read, or an unknown `WARMPOD_*` variable, stops the start.\n\n| flag | variable | meaning |\n|---|---|---|\n",
    );
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    for flag in command.get_arguments() {
        let (Some(long), Some(env)) = (flag.get_long(), flag.get_env()) else { continue };
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let default: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let takes_value = flag.get_action().takes_values();
        let default = match default.is_empty() || !takes_value {
            true => String::new(),
            false => format!(" [default: {}]", default.join(", ")),
        };
        let _ = writeln!(page, "| `--{long}` | `{}` | {help}{default} |", env.to_string_lossy());
    }
    page.push_str(
        "\n`WARMPOD_LOG` sets the log's filter, as in `WARMPOD_LOG=debug` or `info,warmpod::function=debug` (the latter shows what functions write).\n\n## Variables of LocalStack\n\nThey work unchanged; a flag wins over them.\n\n| variable | default | meaning |\n|---|---|---|\n",
    );
    for variable in VARIABLES {
        if let Some(effect) = variable.effect {
            let _ = writeln!(page, "| `{}` | {} | {effect} |", variable.name, variable.default);
        }
    }
    page.push_str("\nThese are accepted, have no effect here, and are named once in the log when they are set: ");
    let ignored: Vec<_> = VARIABLES.iter().filter(|v| v.effect.is_none()).map(|v| format!("`{}`", v.name)).collect();
    page.push_str(&ignored.join(", "));
    page.push_str(".\n");
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_the_one_that_the_program_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(stored == super::page(), "docs/configuration.md is old: run `make docs`");
    }
}
