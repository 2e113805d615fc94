//! The keys of an operating point as flags.

use ::estimate::{KEYS, Key, OperatingPoint, Slot};
use clap::{Arg, ArgGroup, ArgMatches, Command, Error, FromArgMatches};
use std::marker::PhantomData;

/// Keys of an operating point that a command takes.
pub trait Choice {
    /// Name of the group of their flags.
    const GROUP: &'static str;

    /// Whether a key is one of them.
    fn takes(key: &Key) -> bool;

    /// Whether names without a default have to be given.
    fn needs_names() -> bool;
}

/// All of them.
pub struct Every;

impl Choice for Every {
    const GROUP: &'static str = "PointFlags";

    fn takes(_: &Key) -> bool {
        true
    }

    fn needs_names() -> bool {
        true
    }
}

/// Those that say what runs, whatever is asked of it.
pub struct OfInstances;

impl Choice for OfInstances {
    const GROUP: &'static str = "InstanceFlags";

    fn takes(key: &Key) -> bool {
        // How many instances there are is said by their number, not by chips.
        (key.is_of_instance() && key.name != "chips") || key.is_of_side() || key.name == "mode"
    }

    fn needs_names() -> bool {
        false
    }
}

/// Chosen keys of an operating point, each as a flag with `-` for `_`.
pub struct KeyArgs<C> {
    /// What they describe.
    pub point: OperatingPoint,
    choice: PhantomData<C>,
}

/// Every key.
pub type PointArgs = KeyArgs<Every>;

/// Keys that say what runs.
pub type InstanceArgs = KeyArgs<OfInstances>;

fn chosen<C: Choice>() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| C::takes(key))
}

fn flag(key: &'static Key, needs_names: bool) -> Arg {
    let mut point = OperatingPoint::default();
    let (kind, needed) = match (key.slot)(&mut point) {
        Slot::Name(_) => ("NAME", needs_names),
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
    let users = (key.name == "concurrency").then_some("users");
    let spelled = |name: &str| name.replace('_', "-");
    Arg::new(key.name)
        .long(spelled(key.name))
        .aliases(key.spellings().map(spelled))
        .visible_aliases(users)
        .value_name(kind)
        .help(key.help.trim_end_matches('.'))
        .required(needed)
        .value_parser(read)
}

impl<C: Choice> clap::Args for KeyArgs<C> {
    fn augment_args(command: Command) -> Command {
        let group = ArgGroup::new(C::GROUP).args(chosen::<C>().map(|key| key.name)).multiple(true);
        command.args(chosen::<C>().map(|key| flag(key, C::needs_names()))).group(group)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<C: Choice> FromArgMatches for KeyArgs<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self { point: OperatingPoint::default(), choice: PhantomData };
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for key in chosen::<C>() {
            if let Some(text) = matches.get_one::<String>(key.name) {
                let wrong = |problem| Error::raw(clap::error::ErrorKind::ValueValidation, problem);
                (key.slot)(&mut self.point).set(text).map_err(wrong)?;
            }
        }
        Ok(())
    }
}
