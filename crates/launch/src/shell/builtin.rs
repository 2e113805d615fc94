//! Commands: those of the shell itself, those that run other scripts, and those that are kept to be looked at.

use super::run::{At, Ending, world_size};
use super::state::{Ran, Shell};
use super::value::{Var, clean, is_unknown, unknown};
use crate::error::LaunchError;

/// What a command is given beside its words.
#[derive(Default)]
struct Redirects {
    /// A here-document or here-string.
    input: Option<String>,
    input_line: u32,
    /// The file that its output goes to.
    output: Option<String>,
    append: bool,
}

/// Most commands kept.
const MAX_COMMANDS: usize = 2000;

/// Shells that run a text or a file.
const SHELLS: [&str; 5] = ["bash", "sh", "zsh", "/bin/bash", "/bin/sh"];

impl Shell<'_> {
    /// A command with its redirections and the variables set for it.
    pub(super) fn command(&mut self, at: At<'_>) -> Result<Ending, LaunchError> {
        let mut redirects = Redirects::default();
        let mut body = at;
        if at.kind() == "redirected_statement" {
            let children = at.children();
            let Some(first) = children.first().filter(|child| !child.kind().ends_with("_redirect")) else {
                return Ok(Ending::Next);
            };
            body = *first;
            for child in &children[1..] {
                self.redirect(*child, &mut redirects)?;
            }
            if body.kind() != "command" {
                return self.statement(body);
            }
        }
        let line = body.line();
        let mut words = Vec::new();
        let mut assignments = Vec::new();
        for child in body.children() {
            match child.kind() {
                "variable_assignment" => assignments.push(child),
                "comment" => {}
                "herestring_redirect" | "file_redirect" | "heredoc_redirect" => {
                    self.redirect(child, &mut redirects)?;
                }
                kind if kind.ends_with("_redirect") => {}
                _ if child.node.is_named() => {
                    for word in self.words(child.str())? {
                        if words.is_empty() && self.left_out(&word) {
                            continue;
                        }
                        self.charge(word.len() + 24)?;
                        words.push(word);
                    }
                }
                _ => {}
            }
        }
        self.with_variables(&assignments, |shell, env| {
            shell.line = line;
            shell.run(&words, line, &redirects, env)
        })
    }

    /// Runs with the variables that are set for one command only.
    fn with_variables(
        &mut self,
        assignments: &[At<'_>],
        run: impl FnOnce(&mut Self, Vec<(String, String)>) -> Result<Ending, LaunchError>,
    ) -> Result<Ending, LaunchError> {
        let mut kept = Vec::new();
        let mut env = Vec::new();
        for assignment in assignments {
            let Some(name) = assignment.children().first().map(|name| name.str().to_owned()) else {
                continue;
            };
            kept.push((name.clone(), self.world.vars.get(&name).cloned()));
            self.assign(*assignment, false)?;
            env.push((name.clone(), self.lookup(&name)));
        }
        let flow = run(self, env)?;
        for (name, old) in kept.into_iter().rev() {
            match old {
                Some(var) => self.world.vars.insert(name, var),
                None => self.world.vars.remove(&name),
            };
        }
        Ok(flow)
    }

    fn redirect(&mut self, at: At<'_>, redirects: &mut Redirects) -> Result<(), LaunchError> {
        let children = at.children();
        match at.kind() {
            "file_redirect" => {
                let operator =
                    children.iter().find(|child| !child.node.is_named()).map_or("", |child| child.str());
                let descriptor =
                    children.iter().any(|child| child.kind() == "file_descriptor" && child.str() != "1");
                let target = children.iter().rev().find(|child| child.node.is_named());
                if let (false, ">" | ">>" | "&>", Some(target)) = (descriptor, operator, target) {
                    redirects.output = Some(self.single(target.str())?);
                    redirects.append = operator == ">>";
                }
            }
            "herestring_redirect" => {
                if let Some(word) = children.iter().find(|child| child.node.is_named()) {
                    redirects.input = Some(self.single(word.str())?);
                    redirects.input_line = word.line();
                }
            }
            "heredoc_redirect" => {
                let quoted = children
                    .iter()
                    .any(|child| child.kind() == "heredoc_start" && child.str().contains(['\'', '"', '\\']));
                for child in &children {
                    match child.kind() {
                        "heredoc_body" => {
                            let text = child.str();
                            redirects.input =
                                Some(if quoted { text.to_owned() } else { self.here_document(text)? });
                            redirects.input_line = child.line();
                        }
                        kind if kind.ends_with("_redirect") => {
                            self.down()?;
                            self.redirect(*child, redirects)?;
                            self.up();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn run(
        &mut self,
        words: &[String],
        line: u32,
        redirects: &Redirects,
        env: Vec<(String, String)>,
    ) -> Result<Ending, LaunchError> {
        let Some(name) = words.first().map(String::as_str) else { return Ok(Ending::Next) };
        let rest = &words[1..];
        match name {
            "exit" => return Ok(Ending::Exit),
            "return" => return Ok(Ending::Return),
            "break" => return Ok(Ending::Break),
            "continue" => return Ok(Ending::Continue),
            "shift" => {
                let count = rest.first().map_or(Some(1), |count| count.parse().ok()).unwrap_or(1);
                let count = count.min(self.world.positional.len());
                self.world.positional.drain(..count);
            }
            "set" => {
                if let Some(at) = rest.iter().position(|word| word == "--") {
                    self.world.positional = rest[at + 1..].to_vec();
                }
            }
            "let" => {
                for word in rest {
                    self.expression(word)?;
                }
            }
            "read" | "mapfile" | "readarray" => {
                for word in rest.iter().filter(|word| !word.starts_with(['-', '<'])) {
                    self.set(word, Var::Text(unknown(&[format!("?{word}")])))?;
                }
            }
            "echo" | "printf" => self.print(name, rest, redirects)?,
            "cat" | "tee" => self.copy(name, rest, redirects)?,
            "eval" => {
                let text = rest.join(" ");
                return if is_unknown(&text) && !text.contains(' ') {
                    Ok(Ending::Next)
                } else {
                    self.text(&text, line)
                };
            }
            "source" | "." => return self.source(rest, line),
            _ if self.world.functions.contains_key(name) => return self.call(name, rest),
            _ => return self.program(words, line, redirects, env),
        }
        Ok(Ending::Next)
    }

    fn print(&mut self, name: &str, rest: &[String], redirects: &Redirects) -> Result<(), LaunchError> {
        let rest: Vec<&str> =
            rest.iter().map(String::as_str).filter(|word| !matches!(*word, "-n" | "-e" | "-ne")).collect();
        let text = if name == "printf" {
            let body = rest.get(1..).unwrap_or(&[]).join(" ");
            match rest.first() {
                Some(&"%s" | &"%s\\n" | &"%d" | &"%d\\n") => body,
                Some(format) if !format.contains('%') => (*format).to_owned(),
                _ => unknown(&["?printf".to_owned()]),
            }
        } else {
            rest.join(" ")
        };
        self.charge(text.len())?;
        self.emit(text, redirects);
        Ok(())
    }

    fn emit(&mut self, text: String, redirects: &Redirects) {
        match &redirects.output {
            Some(file) if file != "/dev/null" && self.world.files.len() < 64 => {
                let old = if redirects.append { self.world.files.remove(file) } else { None };
                let text = old.map_or(text.clone(), |old| format!("{old}\n{text}"));
                self.world.files.insert(file.clone(), text);
            }
            Some(_) => {}
            None => {
                if let Some(Some(output)) = &mut self.output {
                    if !output.is_empty() {
                        output.push('\n');
                    }
                    output.push_str(&text);
                }
            }
        }
    }

    fn copy(&mut self, name: &str, rest: &[String], redirects: &Redirects) -> Result<(), LaunchError> {
        let named = rest.iter().find(|word| !word.starts_with('-'));
        let text = match (&redirects.input, named) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(file)) if name == "cat" => self.named_file(file),
            _ => None,
        };
        match (text, name, named) {
            (Some(text), "tee", Some(file)) => {
                let target = Redirects { output: Some(file.clone()), ..Redirects::default() };
                self.emit(text, &target);
            }
            (Some(text), _, _) => {
                self.charge(text.len())?;
                self.emit(text, redirects);
            }
            (None, _, _) => {
                if let Some(output) = &mut self.output {
                    *output = None;
                }
            }
        }
        Ok(())
    }

    /// The text of a file that the script wrote, or that lies beside it.
    pub(crate) fn named_file(&self, name: &str) -> Option<String> {
        self.world.files.get(name).cloned().or_else(|| self.inputs.file(name).map(|text| clean(&text)))
    }

    fn source(&mut self, rest: &[String], line: u32) -> Result<Ending, LaunchError> {
        let Some(name) = rest.first() else { return Ok(Ending::Next) };
        match self.named_file(name) {
            Some(text) => {
                let file = std::mem::replace(&mut self.file, name.clone());
                let flow = self.text(&text, 1);
                self.file = file;
                Ok(if flow? == Ending::Exit { Ending::Exit } else { Ending::Next })
            }
            None => {
                if !name.ends_with("activate") && !name.ends_with("set_env.sh") && !name.ends_with(".bashrc")
                {
                    let shown = if is_unknown(name) { "a file" } else { name };
                    self.note(format!("line {line}: {shown} is sourced and was not read"));
                }
                Ok(Ending::Next)
            }
        }
    }

    fn call(&mut self, name: &str, rest: &[String]) -> Result<Ending, LaunchError> {
        let Some((body, line)) = self.world.functions.get(name).cloned() else { return Ok(Ending::Next) };
        let kept = std::mem::replace(&mut self.world.positional, rest.to_vec());
        self.function_depth += 1;
        self.locals.push(Vec::new());
        let flow = self.text(&body, line);
        self.function_depth -= 1;
        for (name, old) in self.locals.pop().unwrap_or_default().into_iter().rev() {
            match old {
                Some(var) => self.world.vars.insert(name, var),
                None => self.world.vars.remove(&name),
            };
        }
        self.world.positional = kept;
        Ok(if flow? == Ending::Exit { Ending::Exit } else { Ending::Next })
    }

    /// A program: one that runs a shell is followed into it, any other is kept.
    fn program(
        &mut self,
        words: &[String],
        line: u32,
        redirects: &Redirects,
        env: Vec<(String, String)>,
    ) -> Result<Ending, LaunchError> {
        if let Some(output) = &mut self.output {
            let known = output.as_mut().and_then(|_| small_program(words));
            match (known, output) {
                (Some(text), Some(output)) => output.push_str(&text),
                (_, output) => *output = None,
            }
            return Ok(Ending::Next);
        }
        if let Some((at, text)) = self.inner_script(words, redirects) {
            let first =
                if redirects.input.is_some() && at == words.len() { redirects.input_line } else { line };
            return self.inner(&words[..at.min(words.len())], &text, first, &[]);
        }
        let shell = words.iter().position(|word| SHELLS.contains(&word.as_str()));
        let script = match shell {
            Some(at) => words.iter().enumerate().skip(at + 1).find(|(_, word)| !word.starts_with('-')),
            None => words.first().filter(|word| word.ends_with(".sh")).map(|word| (0, word)),
        };
        if let Some((at, name)) = script
            && let Some(text) = self.named_file(name)
        {
            let file = std::mem::replace(&mut self.file, name.clone());
            let flow = self.inner(&words[..shell.unwrap_or(0)], &text, 1, &words[at + 1..]);
            self.file = file;
            return flow;
        }
        let kept =
            words.iter().any(|word| word.starts_with("--") || word.contains(".py") || is_unknown(word))
                || words.iter().any(|word| matches!(word.as_str(), "serve" | "trtllm-serve"))
                || words.iter().any(|word| [".yaml", ".yml"].iter().any(|end| word.ends_with(end)));
        let words: Vec<String> = self.prefix.iter().chain(words).cloned().collect();
        let again = self.commands.last().is_some_and(|last| last.line == line && last.words == words);
        if kept && !again && self.commands.len() < MAX_COMMANDS {
            self.charge(words.iter().map(|word| word.len() + 24).sum())?;
            self.commands.push(Ran { words, line, guards: self.guards.clone(), env });
        }
        Ok(Ending::Next)
    }

    /// The text that a shell among the words is given by `-c` or as a document, and where the words before it end.
    fn inner_script(&self, words: &[String], redirects: &Redirects) -> Option<(usize, String)> {
        let shell = words.iter().position(|word| SHELLS.contains(&word.as_str()));
        if let Some(at) = shell {
            let option = (at + 1..words.len())
                .take_while(|i| words[*i].starts_with('-'))
                .find(|i| words[*i].ends_with('c'));
            if let Some(text) = option.and_then(|i| words.get(i + 1)) {
                return Some((at, text.clone()));
            }
        }
        if let Some(text) = words.iter().find_map(|word| word.strip_prefix("--wrap=")) {
            return Some((0, text.to_owned()));
        }
        let takes_script =
            shell.is_some() || matches!(words.first().map(String::as_str), Some("sbatch" | "qsub" | "ssh"));
        let text = redirects.input.as_ref().filter(|_| takes_script)?;
        Some((words.len(), text.clone()))
    }

    fn inner(
        &mut self,
        before: &[String],
        text: &str,
        line: u32,
        args: &[String],
    ) -> Result<Ending, LaunchError> {
        self.charge(world_size(&self.world))?;
        let kept = self.world.clone();
        let length = self.prefix.len();
        self.prefix.extend(before.iter().cloned());
        let function = std::mem::replace(&mut self.function_depth, 1);
        self.world.positional = args.to_vec();
        self.slurm(text)?;
        let flow = self.text(text, line);
        self.function_depth = function;
        self.prefix.truncate(length);
        let files = std::mem::take(&mut self.world.files);
        self.world = kept;
        self.world.files = files;
        flow.map(|_| Ending::Next)
    }

    /// `$( ... )`: what it prints, if that is known.
    pub(super) fn substitution(&mut self, text: &str) -> Result<String, LaunchError> {
        let shown: String = text.trim().lines().next().unwrap_or("").chars().take(60).collect();
        let mark = unknown(&[format!("?{shown}")]);
        self.charge(world_size(&self.world))?;
        let kept = self.world.clone();
        let output = self.output.replace(Some(String::new()));
        let line = self.line;
        let pipeline = text.contains('|') && !text.contains("||");
        let result = if pipeline { Ok(Ending::Next) } else { self.text(text, line) };
        let printed = std::mem::replace(&mut self.output, output);
        self.world = kept;
        self.line = line;
        match result {
            // A substitution that cannot be followed only leaves its value unknown.
            Err(LaunchError::Syntax { .. }) => Ok(mark),
            Err(error) => Err(error),
            Ok(_) if pipeline => Ok(mark),
            Ok(_) => Ok(printed.flatten().map_or(mark, |text| text.trim_end_matches('\n').to_owned())),
        }
    }

    /// Variables that Slurm sets from the `#SBATCH` lines of a script.
    pub(super) fn slurm(&mut self, text: &str) -> Result<(), LaunchError> {
        let set = |shell: &mut Self, names: &[&str], value: &str| -> Result<(), LaunchError> {
            for name in names {
                shell.set(name, Var::Text(value.to_owned()))?;
            }
            Ok(())
        };
        for line in text.lines().take(400) {
            let Some(rest) = line.trim_start().strip_prefix("#SBATCH") else { continue };
            let rest = rest.split(" #").next().unwrap_or("").trim();
            let (name, value) = match rest.split_once(['=', ' ', '\t']) {
                Some((name, value)) => (name.trim(), value.trim()),
                None => (rest.get(..2).unwrap_or(""), rest.get(2..).unwrap_or("").trim()),
            };
            let last = value.rsplit(':').next().unwrap_or(value);
            match name {
                "--nodes" | "-N" => {
                    set(
                        self,
                        &["SLURM_NNODES", "SLURM_JOB_NUM_NODES"],
                        value.split('-').next().unwrap_or(value),
                    )?;
                }
                "--ntasks-per-node" => set(self, &["SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE"], value)?,
                "--ntasks" | "-n" => set(self, &["SLURM_NTASKS", "SLURM_NPROCS"], value)?,
                "--gpus-per-node" | "--gres" if last.parse::<u32>().is_ok() => {
                    set(self, &["SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_NODE"], last)?;
                }
                _ => {}
            }
        }
        let number = |shell: &Self, name: &str| {
            shell.world.vars.get(name).and_then(|var| var.first().parse::<u64>().ok())
        };
        if let (None, Some(nodes), Some(tasks)) = (
            number(self, "SLURM_NTASKS"),
            number(self, "SLURM_NNODES"),
            number(self, "SLURM_NTASKS_PER_NODE"),
        ) {
            self.set("SLURM_NTASKS", Var::Text(nodes.saturating_mul(tasks).to_string()))?;
        }
        Ok(())
    }
}

/// What a few programs print that need nothing but their arguments.
fn small_program(words: &[String]) -> Option<String> {
    if words.iter().any(|word| is_unknown(word)) {
        return None;
    }
    let first = words.get(1).map(String::as_str);
    match (words[0].as_str(), first) {
        ("pwd", None) => Some(".".to_owned()),
        ("basename", Some(path)) => {
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
            Some(
                words.get(2).and_then(|suffix| name.strip_suffix(suffix.as_str())).unwrap_or(name).to_owned(),
            )
        }
        ("dirname", Some(path)) => Some(path.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned()),
        ("expr", Some(_)) => {
            super::arithmetic::evaluate(&words[1..].join(" "), &|_| None).map(|value| value.to_string())
        }
        ("seq", Some(_)) => {
            let numbers: Vec<i64> = words[1..].iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
            let (from, to) =
                if numbers.len() == 1 { (1, numbers[0]) } else { (numbers[0], *numbers.last()?) };
            let list: Vec<String> = (from..=to).take(4096).map(|number| number.to_string()).collect();
            (numbers.len() < 3).then(|| list.join("\n"))
        }
        ("cd", _) | ("mkdir", _) => Some(String::new()),
        _ => None,
    }
}
