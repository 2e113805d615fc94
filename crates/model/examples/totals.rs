//! Prints the total parameters of each configuration given, or why it was refused.

fn main() {
    for file in std::env::args().skip(1) {
        match supernode_model::import::from_path(std::path::Path::new(&file)) {
            Ok(model) => println!("{file}\t{}\t{}", model.parameters().total(), model.reading.join("; ")),
            Err(error) => println!("{file}\tERR\t{error}"),
        }
    }
}
