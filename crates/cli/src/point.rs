//! The keys of an operating point as flags.

use ::estimate::{KEYS, Key, OperatingPoint, Slot};
use clap::{Arg, ArgMatches, Command, Error, FromArgMatches};

/// Every key of an operating point, each as a flag with `-` for `_`.
pub struct PointArgs {
    /// What they describe.
    pub point: OperatingPoint,
}

fn flag(key: &'static Key) -> Arg {
    let mut point = OperatingPoint::default();
    let (kind, needed) = match (key.slot)(&mut point) {
        Slot::Name(_) => ("NAME", true),
        Slot::Text(_) => ("NAME", false),
        Slot::Count(_) | Slot::Whole(_) => ("N", false),
        Slot::Number(_) => ("NUMBER", false),
        Slot::Share(_) => ("SHARE", false),
        Slot::Truth(_) => ("BOOL", false),
        Slot::Format(_) => ("FORMAT", false),
        Slot::Execution(_) => ("MODE", false),
        Slot::Mode(_) => ("MODE", false),
    };
    let read = move |text: &str| {
        (key.slot)(&mut OperatingPoint::default()).set(text)?;
        Ok::<String, String>(text.to_owned())
    };
    // In a scenario, and in what people say, those who ask are users.
    let aliases: &[&str] = if key.name == "concurrency" { &["users"] } else { &[] };
    Arg::new(key.name)
        .visible_aliases(aliases.iter().copied())
        .long(key.name.replace('_', "-"))
        .value_name(kind)
        .help(key.help.trim_end_matches('.'))
        .required(needed)
        .value_parser(read)
}

impl clap::Args for PointArgs {
    fn augment_args(command: Command) -> Command {
        command.args(KEYS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PointArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self { point: OperatingPoint::default() };
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for key in KEYS {
            if let Some(text) = matches.get_one::<String>(key.name) {
                let wrong = |problem| Error::raw(clap::error::ErrorKind::ValueValidation, problem);
                (key.slot)(&mut self.point).set(text).map_err(wrong)?;
            }
        }
        Ok(())
    }
}
