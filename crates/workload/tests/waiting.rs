//! Traces of text, of tables with named columns, and of requests that wait for each other.

use std::io::Cursor;
use supernode_workload::{Arrival, Arrivals, Format, Process, Reading, Replay, ReplayOptions, Source};
use units::{PerSecond, Seconds};

fn open(text: &str, reading: Reading) -> Replay {
    let options = ReplayOptions { reading, ..ReplayOptions::default() };
    Replay::from_reader("trace", Box::new(Cursor::new(text.as_bytes().to_vec())), options)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn all(mut replay: Replay) -> Vec<Arrival> {
    let mut rows = Vec::new();
    while let Some(arrival) = replay.pop().unwrap_or_else(|error| panic!("{error}")) {
        rows.push(arrival);
    }
    rows
}

fn check(text: &str, reading: Reading, format: Format, expected: &[(f64, u32, u32)]) -> Vec<Arrival> {
    let replay = open(text, reading);
    assert_eq!(replay.format(), format);
    let rows = all(replay);
    let got: Vec<(f64, u32, u32)> = rows.iter().map(|row| (row.at.get(), row.input, row.output)).collect();
    assert_eq!(got, expected);
    rows
}

fn refusal(text: &str, reading: Reading) -> String {
    let options = ReplayOptions { reading, ..ReplayOptions::default() };
    let opened = Replay::from_reader("trace", Box::new(Cursor::new(text.as_bytes().to_vec())), options);
    match opened {
        Err(error) => error.to_string(),
        Ok(mut replay) => loop {
            match replay.pop() {
                Err(error) => return error.to_string(),
                Ok(None) => panic!("the trace is read"),
                Ok(Some(_)) => {}
            }
        },
    }
}

#[test]
fn bailian_counts_seconds_and_blocks_of_sixteen() {
    let text = "{\"chat_id\": 1, \"parent_chat_id\": -1, \"timestamp\": 61.114, \"input_length\": 33, \"output_length\": 5, \"type\": \"text\", \"turn\": 1, \"hash_ids\": [7, 8, 9]}\n\
                {\"chat_id\": 2, \"parent_chat_id\": 1, \"timestamp\": 158.5, \"input_length\": 49, \"output_length\": 6, \"type\": \"text\", \"turn\": 2, \"hash_ids\": [7, 8, 10, 11]}\n";
    let rows = check(text, Reading::default(), Format::Bailian, &[(0.0, 33, 5), (97.386, 49, 6)]);
    assert_eq!(rows[0].prefix.as_deref(), Some([7, 8].as_slice()), "whole blocks only");
    assert_eq!((rows[0].session, rows[1].session), (Some(1), Some(1)), "a reply belongs to its conversation");
    assert_eq!(open(text, Reading::default()).hash_block(), Some(16));
}

#[test]
fn a_guessed_unit_and_block_are_said() {
    let text = "{\"timestamp\": 0.05, \"input_length\": 40, \"output_length\": 2, \"hash_ids\": [1, 2, 3]}\n\
                {\"timestamp\": 0.65, \"input_length\": 70, \"output_length\": 2, \"hash_ids\": [1, 2, 3, 4, 5]}\n";
    let replay = open(text, Reading::default());
    let notes = replay.notes().join("\n");
    assert!(notes.contains("times are taken for s") && notes.contains("taken for 16 tokens"), "{notes}");
    assert_eq!(all(replay)[1].at, Seconds::new(0.6));
    let said = Reading { time_unit: "ms".parse().ok(), block_size: Some(16), ..Reading::default() };
    let replay = open(text, said);
    assert_eq!(replay.notes(), Vec::<String>::new(), "what the user says is no guess");
    assert_eq!(all(replay)[1].at, Seconds::new(0.0006));
}

#[test]
fn named_columns() {
    let text = "when;x,prompt,answer,user,class\n2024-05-12 00:00:00.5+00:00,100,10,ann,1\n2024-05-12 00:00:02+00:00,200,20,bob,0\n";
    let columns =
        "arrival=when;x,input=prompt,output=answer,session=user,priority=class".parse().expect("columns");
    let reading = Reading { columns: Some(columns), ..Reading::default() };
    let rows = check(text, reading, Format::Csv, &[(0.0, 100, 10), (1.5, 200, 20)]);
    assert!(rows[0].session.is_some() && rows[0].session != rows[1].session);
    assert_eq!((rows[0].priority, rows[1].priority), (1, 0));
    let milliseconds = Reading {
        columns: "arrival=t,input=i,output=o".parse().ok(),
        time_unit: "ms".parse().ok(),
        ..Reading::default()
    };
    check("t,i,o\n1500,5,6\n2250,7,8\n", milliseconds.clone(), Format::Csv, &[(0.0, 5, 6), (0.75, 7, 8)]);
    assert!(refusal("t,i\n1,2\n", milliseconds).contains("lacks the column `o`"));
    assert!("input=a".parse::<supernode_workload::ColumnNames>().is_err());
}

#[test]
fn lists_and_texts() {
    check(
        "[{\"request_id\": 0, \"timestamp\": 0.0, \"data\": {\"input_tokens\": 500, \"output_tokens\": 90}},\n {\"request_id\": 1, \"timestamp\": 0.3, \"data\": {\"input_tokens\": 501, \"output_tokens\": 91}}]",
        Reading::default(),
        Format::ServeGen,
        &[(0.0, 500, 90), (0.3, 501, 91)],
    );
    let without_times = [
        (
            "{\"conversation_id\": \"a\", \"conversation\": [{\"role\": \"user\", \"content\": \"12345678\"}, {\"role\": \"assistant\", \"content\": \"1234\"}]}",
            Format::Lmsys,
            2,
            1,
        ),
        (
            "{\"custom_id\": \"r\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\", \"body\": {\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"12345678\"}]}], \"max_tokens\": 30}}",
            Format::OpenAiBatch,
            2,
            30,
        ),
        ("{\"prompt\": \"12345678\", \"output_tokens\": 64}", Format::VllmCustom, 2, 64),
        ("{\"text\": \"12345678\", \"output_length\": 60}", Format::AiPerf, 2, 60),
    ];
    for (text, format, input, output) in without_times {
        assert!(refusal(text, Reading::default()).contains("give an arrival process"), "{format}");
        let times = Arrivals::new(Process::Constant { rate: PerSecond::new(2.0) }, 0).expect("a process");
        let options = ReplayOptions { arrivals: Some(times), ..ReplayOptions::default() };
        let replay = Replay::from_reader("trace", Box::new(Cursor::new(text.as_bytes().to_vec())), options);
        let replay = replay.unwrap_or_else(|error| panic!("{error}"));
        assert!(replay.notes().iter().any(|note| note.contains("estimated")), "{format}");
        assert_eq!(replay.format(), format);
        let rows = all(replay);
        assert_eq!((rows[0].input, rows[0].output), (input, output), "{format}");
    }
    let unlimited = "{\"custom_id\": \"r\", \"body\": {\"messages\": []}}";
    let batch = Reading { format: Some(Format::OpenAiBatch), ..Reading::default() };
    let times = Arrivals::new(Process::Constant { rate: PerSecond::new(2.0) }, 0).expect("a process");
    let options = ReplayOptions { arrivals: Some(times), reading: batch, ..ReplayOptions::default() };
    let mut replay =
        Replay::from_reader("trace", Box::new(Cursor::new(unlimited.as_bytes().to_vec())), options)
            .expect("opened");
    assert!(replay.pop().unwrap_err().to_string().contains("no `max_tokens`"));
}

/// Sends what is due and ends each request `work` seconds later; gives back when each was sent, by its output length.
fn play(mut replay: Replay, work: f64) -> Vec<(u32, f64)> {
    let (mut sent, mut running): (Vec<(u32, f64)>, Vec<(f64, u64)>) = (Vec::new(), Vec::new());
    loop {
        let next = replay.peek().expect("a readable trace").map(Seconds::get);
        let ending = running.iter().map(|(at, _)| *at).reduce(f64::min);
        match (next, ending) {
            (None, None) => return sent,
            (Some(at), ending) if ending.is_none_or(|ending| at < ending) => {
                let arrival = replay.pop().expect("a readable trace").expect("a request");
                sent.push((arrival.output, (arrival.at.get() * 1e6).round() / 1e6));
                running.push((at + work, arrival.ticket));
            }
            (_, Some(at)) => {
                let index = running.iter().position(|(end, _)| *end == at).expect("one ends");
                let (at, ticket) = running.remove(index);
                replay.ended(ticket, Seconds::new(at));
            }
            (Some(_), None) => unreachable!("a request is due and none runs"),
        }
    }
}

#[test]
fn requests_wait_for_those_they_name_and_for_their_tools() {
    let text = "{\"request_id\": \"a\", \"session_id\": \"s\", \"timestamp\": 1000, \"input_length\": 600, \"output_length\": 1, \"hash_ids\": [1]}\n\
                {\"request_id\": \"b\", \"session_id\": \"s\", \"wait_for\": [\"a\"], \"delay\": 250, \"tool_wait_ms\": 1750, \"input_length\": 700, \"output_length\": 2, \"hash_ids\": [1]}\n\
                {\"request_id\": \"c\", \"session_id\": \"t\", \"wait_for\": [\"a\"], \"input_length\": 700, \"output_length\": 3, \"hash_ids\": [1]}\n\
                {\"request_id\": \"d\", \"session_id\": \"s\", \"wait_for\": [\"b\", \"c\"], \"input_length\": 700, \"output_length\": 4, \"hash_ids\": [1]}\n";
    let replay = open(text, Reading::default());
    assert_eq!(replay.format(), Format::Agentic);
    // a at 0 ends at 10; c follows at once and ends at 20, b after two seconds and ends at 22; d joins both.
    assert_eq!(play(replay, 10.0), [(1, 0.0), (3, 10.0), (2, 12.0), (4, 22.0)]);
    let turns = "{\"session_id\": \"s\", \"timestamp\": 0, \"input_length\": 10, \"output_length\": 1}\n\
                 {\"session_id\": \"s\", \"delay\": 500, \"input_length\": 20, \"output_length\": 2}\n\
                 {\"session_id\": \"u\", \"timestamp\": 3000, \"input_length\": 10, \"output_length\": 3}\n";
    assert_eq!(play(open(turns, Reading::default()), 1.0), [(1, 0.0), (2, 1.5), (3, 3.0)]);
}

#[test]
fn turns_of_a_conversation_follow_their_answers() {
    let text = "{\"session_id\": \"s\", \"turns\": [{\"text\": \"12345678\", \"output_length\": 5, \"timestamp\": 0}, {\"text\": \"1234\", \"delay\": 2000, \"output_length\": 6}]}";
    let replay = open(text, Reading::default());
    assert_eq!(replay.format(), Format::AiPerf);
    assert_eq!(play(replay, 1.0), [(5, 0.0), (6, 3.0)]);
    let mut replay = open(text, Reading::default());
    let first = replay.pop().expect("readable").expect("a turn");
    replay.ended(first.ticket, Seconds::new(1.0));
    let second = replay.pop().expect("readable").expect("a turn");
    assert_eq!((first.input, second.input), (2, 8), "a prompt is everything said before");
}

#[test]
fn sub_agents_run_beside_each_other_and_are_joined() {
    let text = "{\"id\": \"x\", \"block_size\": 64, \"requests\": [\
        {\"t\": 5.0, \"type\": \"n\", \"in\": 640, \"out\": 1, \"hash_ids\": [1, 2], \"api_time\": 2.0},\
        {\"t\": 7.5, \"type\": \"subagent\", \"agent_id\": \"p\", \"requests\": [\
            {\"t\": 0.5, \"type\": \"n\", \"in\": 64, \"out\": 2, \"api_time\": 1.0},\
            {\"t\": 2.5, \"type\": \"n\", \"in\": 64, \"out\": 3, \"api_time\": 1.0, \"think_time\": 4.0}]},\
        {\"t\": 7.5, \"type\": \"subagent\", \"agent_id\": \"q\", \"requests\": [\
            {\"t\": 0.0, \"type\": \"s\", \"in\": 64, \"out\": 4, \"api_time\": 1.0}]},\
        {\"t\": 20.0, \"type\": \"n\", \"in\": 704, \"out\": 5, \"hash_ids\": [1, 2], \"api_time\": 2.0, \"think_time\": 0.25}]}";
    let replay = open(text, Reading::default());
    assert_eq!((replay.format(), replay.hash_block()), (Format::Weka, Some(64)));
    // The first ends at 10. p starts a second later, q half a second; p's second call waits for its first and four
    // seconds more; the last call waits for both and a quarter of a second.
    assert_eq!(play(replay, 10.0), [(1, 0.0), (4, 10.5), (2, 11.0), (3, 25.0), (5, 35.25)]);
}

#[test]
fn graphs_that_cannot_be_played() {
    let row = |name: &str, wait: &str| {
        format!(
            "{{\"request_id\": \"{name}\", \"wait_for\": [\"{wait}\"], \"input_length\": 1, \"output_length\": 1}}\n"
        )
    };
    let root = "{\"request_id\": \"r\", \"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}\n";
    let agentic = || Reading { format: Some(Format::Agentic), ..Reading::default() };
    assert_eq!(
        refusal(&format!("{root}{}", row("a", "z")), agentic()),
        "trace:2: the request waits for `z`, which no line is called"
    );
    assert_eq!(
        refusal(&format!("{root}{}{}", row("a", "b"), row("b", "a")), agentic()),
        "trace:2: the request waits for itself, by way of others"
    );
    assert_eq!(
        refusal(&format!("{root}{root}"), agentic()),
        "trace:2: the request is called `r`, as that of line 1 is"
    );
    let nameless = "{\"request_id\": \"r\", \"wait_for\": [], \"input_length\": 1, \"output_length\": 1}\n";
    assert!(refusal(nameless, agentic()).contains("trace:1: the request waits for none and has no time"));
    let late = format!(
        "{root}{}",
        root.replace("\"r\"", "\"s\"").replace("\"timestamp\": 0", "\"timestamp\": 5, \"delay\": 3")
    );
    let plain = Reading { format: Some(Format::Mooncake), ..Reading::default() };
    assert!(refusal(&late, plain).contains("trace:2: the request waits for another or pauses"));
}

#[test]
fn hostile_numbers_are_refused_with_their_line() {
    for (text, line) in [
        ("{\"timestamp\": -5, \"input_length\": 1, \"output_length\": 1}", "trace:1: "),
        ("{\"timestamp\": 1e300, \"input_length\": 1, \"output_length\": 1}", "trace:1: "),
        (
            "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}\n{\"timestamp\": NaN, \"input_length\": 1, \"output_length\": 1}",
            "trace:2: ",
        ),
        ("[{\"timestamp\": 1e30, \"data\": {\"input_tokens\": 5, \"output_tokens\": 9}}]", "trace:1: "),
        ("{\"input_lens\": [1], \"output_lens\": [1], \"start_times\": [1e300]}", "trace:1: "),
        ("arrived_at,num_prefill_tokens,num_decode_tokens\nNaN,1,1\n", "trace:2: "),
        ("arrived_at,num_prefill_tokens,num_decode_tokens\n1e30,1,1\n", "trace:2: "),
        ("{\"requests\": [{\"t\": 1e300, \"in\": 5, \"out\": 5}]}", "trace:1: "),
    ] {
        let error = refusal(text, Reading::default());
        assert!(error.starts_with(line), "{error}");
    }
}
