//! The binary: reads the command line and hands over. Everything else is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match collective::cli::parse(std::env::args_os().skip(1)) {
        Ok(invocation) => collective::startup::run(&invocation),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
