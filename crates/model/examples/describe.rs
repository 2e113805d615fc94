//! Prints the architecture of a `config.json` as a file of `models/` states it:
//! `cargo run -p supernode-model --example describe -- config.json "where the file is from"`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(source)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: describe CONFIG SOURCE");
        return ExitCode::from(2);
    };
    match supernode_model::resolve(&path).map(|model| supernode_model::describe(&model, &source)) {
        Ok(Ok(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            eprintln!("{path}: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
