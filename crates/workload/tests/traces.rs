//! Every trace format, read from text, and what is wrong with those that are wrong.

use std::io::{Cursor, Write};
use supernode_workload::{
    Arrivals, Format, Process, Replay, ReplayOptions, Source, TraceWriter, WorkloadError,
};
use units::PerSecond;

fn read_bytes(
    bytes: Vec<u8>,
    options: ReplayOptions,
) -> Result<(Format, Vec<(f64, u32, u32)>), WorkloadError> {
    let mut replay = Replay::from_reader("trace", Box::new(Cursor::new(bytes)), options)?;
    let mut rows = Vec::new();
    while let Some(arrival) = replay.pop()? {
        rows.push((arrival.at.get(), arrival.input, arrival.output));
    }
    Ok((replay.format(), rows))
}

fn read(text: &str) -> Result<(Format, Vec<(f64, u32, u32)>), WorkloadError> {
    read_bytes(text.as_bytes().to_vec(), ReplayOptions::default())
}

fn check(text: &str, format: Format, rows: &[(f64, u32, u32)]) {
    let (told, got) = read(text).unwrap();
    assert_eq!((told, got.as_slice()), (format, rows));
}

fn error(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn every_format_is_told_and_read() {
    check(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n",
        Format::Azure,
        &[(0.0, 4808, 10), (0.052, 3180, 8)],
    );
    check(
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
         5,1,2,ChatGPT,472,18,490,Conversation log\n6,1,2,ChatGPT,100,0,100,API log\n45.5,,3,GPT-4,1087,230,1317,API log\n",
        Format::BurstGpt,
        &[(0.0, 472, 18), (40.5, 1087, 230)],
    );
    check(
        "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n4.314579,396,109\n",
        Format::Vidur,
        &[(0.0, 374, 44), (4.314579, 396, 109)],
    );
    check(
        "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n0,2,0,1.5,1,100,20\n1,2,0,2.0,1,50,5\n",
        Format::Splitwise,
        &[(0.0, 100, 20), (0.5, 50, 5)],
    );
    check(
        "{\"timestamp\": 0, \"input_length\": 6758, \"output_length\": 500, \"hash_ids\": [0, 1]}\n{\"timestamp\": 3000, \"input_length\": 10, \"output_length\": 2, \"hash_ids\": [2]}\n",
        Format::Mooncake,
        &[(0.0, 6758, 500), (3.0, 10, 2)],
    );
    check(
        "{\"input_toks\": 128, \"output_toks\": 640, \"arrival_time_ns\": 100, \"input_tok_ids\": [1]}\n{\"input_toks\": 128, \"output_toks\": 130, \"arrival_time_ns\": 1000000100}",
        Format::LlmServingSim,
        &[(0.0, 128, 512), (1.0, 128, 2)],
    );
    check(
        "{\"date\": \"x\", \"endpoint_type\": \"vllm\", \"input_lens\": [5, 6], \"output_lens\": [7, 8], \"start_times\": [10.25, 10.0]}",
        Format::VllmBench,
        &[(0.0, 6, 8), (0.25, 5, 7)],
    );
}

#[test]
fn conversations_need_times_from_elsewhere() {
    let text = "[\n {\"id\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"12345678\"}, {\"from\": \"gpt\", \"value\": \"a } brace and a \\\" quote, 40 characters..\"}]},\n {\"id\": \"b\", \"conversations\": [{\"from\": \"gpt\", \"value\": \"x\"}]}\n]";
    assert!(error(text).contains("the trace has no times"));
    let times = Arrivals::new(Process::Constant { rate: PerSecond::new(2.0) }, 0).unwrap();
    let options = ReplayOptions { arrivals: Some(times), ..ReplayOptions::default() };
    assert_eq!(read_bytes(text.into(), options).unwrap(), (Format::ShareGpt, vec![(0.5, 2, 10)]));
}

#[test]
fn compressed_traces_read_the_same_and_damage_is_named() {
    let mut text = String::from("arrived_at,num_prefill_tokens,num_decode_tokens\n");
    for row in 0..20_000 {
        text.push_str(&format!(
            "{}.{:03},{},{}\n",
            row,
            row % 1000,
            1 + row * 7919 % 5000,
            1 + row * 104729 % 900
        ));
    }
    let plain = read(&text).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(read_bytes(gzip.clone(), ReplayOptions::default()).unwrap(), plain);
    let zstd =
        ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    assert_eq!(read_bytes(zstd.clone(), ReplayOptions::default()).unwrap(), plain);
    for cut in [gzip[..gzip.len() / 2].to_vec(), zstd[..zstd.len() / 2].to_vec()] {
        let message = read_bytes(cut, ReplayOptions::default()).unwrap_err().to_string();
        assert!(message.contains("damaged or cut off after line"), "{message}");
    }
}

#[test]
fn what_is_wrong_is_named_by_line() {
    let vidur = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n";
    let cases = [
        (format!("{vidur}1.0,5\n"), "trace:3: `num_decode_tokens` is missing"),
        (format!("{vidur}1.0,-5,3\n"), "trace:3: `num_prefill_tokens` is -5: a length cannot be negative"),
        (format!("{vidur}1.0,5,900000000000\n"), "trace:3: `num_decode_tokens` is 900000000000: no request has more"),
        (format!("{vidur}1.0,many,3\n"), "trace:3: `num_prefill_tokens` is `many`, which is not a whole number"),
        (format!("{vidur}soon,5,3\n"), "trace:3: `arrived_at` is `soon`, which is not a time"),
        (format!("{vidur}\n2.0,5,3\n1.0,5,3\n"), "trace:5: the time is 1 s before that of line 4"),
        ("arrived_at,num_prefill_tokens\n0,1\n".to_owned(), "trace:1: the header lacks the column `num_decode_tokens`"),
        ("a,b\n1,2\n".to_owned(), "`a,b` begins no known format"),
        (String::new(), "the trace is empty"),
        (
            "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 5}\n{\"timestamp\": 1, \"input_length\": 5}".to_owned(),
            "trace:2: missing field `output_length`",
        ),
        (
            "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 5}\nnonsense".to_owned(),
            "trace:2: `n` where an object",
        ),
        (
            "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 5}\n{\"timestamp\": 1, ".to_owned(),
            "trace:2: the file ends inside the object",
        ),
        (
            "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [1, 2, 3]}".to_owned(),
            "3 `hash_ids` are more than 600 tokens have blocks",
        ),
        (
            "{\"timestamp\": -4, \"input_length\": 600, \"output_length\": 5}".to_owned(),
            "`timestamp` is -4: not a time",
        ),
        ("{\"input_lens\": [1], \"output_lens\": [1, 2]}".to_owned(), "are not equally long"),
    ];
    for (text, expected) in cases {
        let message = error(&text);
        assert!(message.contains(expected), "`{message}` should contain `{expected}`");
    }
}

#[test]
fn a_trace_can_be_denser_shorter_and_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.csv");
    std::fs::write(&path, "arrived_at,num_prefill_tokens,num_decode_tokens\n10,1,1\n12,2,2\n14,3,3\n")
        .unwrap();
    let options = ReplayOptions { rate_scale: 2.0, repeat: 3, limit: Some(7), ..ReplayOptions::default() };
    let mut replay = Replay::open(&path, options).unwrap();
    let mut times = Vec::new();
    while let Some(arrival) = replay.pop().unwrap() {
        times.push((arrival.at.get() * 1e6).round() / 1e6);
    }
    assert_eq!(times, [0.0, 1.0, 2.0, 2.666667, 3.666667, 4.666667, 5.333333]);
}

#[test]
fn what_is_written_reads_back_the_same() {
    let rate = PerSecond::new(3.0);
    let length = "10-400".parse().unwrap();
    let prefix = supernode_workload::SharedPrefix { groups: 3, share: 0.5, hash_block: 64 };
    let mut source = supernode_workload::OpenLoop::new(Process::Poisson { rate }, 200, length, length, 5)
        .unwrap()
        .with_prefix(prefix);
    let mut writer = TraceWriter::new(Vec::new());
    let mut sent = Vec::new();
    while let Some(arrival) = source.pop().unwrap() {
        writer.write(&arrival).unwrap();
        sent.push(arrival);
    }
    let bytes = writer.finish().unwrap();
    let mut replay =
        Replay::from_reader("own", Box::new(Cursor::new(bytes)), ReplayOptions::default()).unwrap();
    for arrival in sent {
        let read = replay.pop().unwrap().unwrap();
        assert!((read.at.get() - arrival.at.get()).abs() < 1e-9);
        assert_eq!((read.input, read.output, read.prefix), (arrival.input, arrival.output, arrival.prefix));
    }
    assert!(replay.pop().unwrap().is_none());
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn the_published_traces_are_read_to_the_end() {
    let data = std::env::var_os("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
    let files = [
        ("azure2023_code.csv", 8819, None),
        ("azure2023_conv.csv", 19366, None),
        ("mooncake_conversation.jsonl", 12031, Some(512)),
    ];
    for (file, count, block) in files {
        let path = std::path::Path::new(&data).join("traces").join(file);
        let mut replay = Replay::open(&path, ReplayOptions::default()).unwrap();
        let mut read = 0;
        while replay.pop().unwrap().is_some() {
            read += 1;
        }
        assert_eq!((read + replay.skipped(), replay.hash_block()), (count, block), "{file}");
    }
}
