//! Prints what a `config.json` or a built-in name amounts to: `cargo run -p supernode-model --example show -- NAME`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for spec in std::env::args().skip(1) {
        match supernode_model::resolve(&spec) {
            Ok(model) => print!("{}", supernode_model::show(&model)),
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::from(2);
            }
        }
    }
    code
}
