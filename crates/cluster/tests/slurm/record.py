#!/usr/bin/env python3
"""Records what a real Slurm does with random lists of jobs, as golden cases for the tests.

One slurmctld and 48 slurmd run on this machine as six partitions of eight nodes (Gres=npu:8, two leaf switches of four nodes
under topology/tree, sched/backfill, priority/basic). Each list is submitted to an empty partition, held, and released at once,
so that only the scheduler decides; jobs sleep for less than their limit. A list's record is its jobs, their start order and
their nodes. Needs root, slurmctld, slurmd and a running munged:

    record.py FOLDER OUT.json LISTS [SEED]
"""
import json, os, random, re, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor

NODES, PARTITIONS, CHIPS = 8, 6, 8


def sh(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def configure(folder):
    os.makedirs(f"{folder}/state", exist_ok=True)
    os.makedirs(f"{folder}/spool", exist_ok=True)
    host = os.uname().nodename
    total = NODES * PARTITIONS
    lines = [
        "ClusterName=golden", f"SlurmctldHost={host}", "SlurmctldPort=16817", "SlurmUser=root", "SlurmdUser=root",
        "AuthType=auth/munge", "CryptoType=crypto/munge", f"StateSaveLocation={folder}/state", f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmctldPidFile={folder}/ctld.pid", f"SlurmdPidFile={folder}/%n.pid", f"SlurmctldLogFile={folder}/ctld.log",
        f"SlurmdLogFile={folder}/%n.log", "ProctrackType=proctrack/pgid", "TaskPlugin=task/none", "SwitchType=switch/none",
        "MpiDefault=none", "SlurmdParameters=config_overrides", "ReturnToService=2", "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=1,bf_continue,bf_resolution=1,sched_min_interval=100000,default_queue_depth=1000,batch_sched_delay=0",
        "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core", "TopologyPlugin=topology/tree",
        "PriorityType=priority/basic", "AccountingStorageType=accounting_storage/none", "JobAcctGatherType=jobacct_gather/none",
        "GresTypes=npu", "SlurmctldTimeout=300", "SlurmdTimeout=300", "InactiveLimit=0", "KillWait=5", "MinJobAge=600",
        "CompleteWait=0", "MessageTimeout=60",
    ]
    for node in range(total):
        lines.append(f"NodeName=n{node} NodeHostname={host} Port={17000 + node} CPUs=8 CoresPerSocket=8 RealMemory=1000 Gres=npu:8 State=UNKNOWN")
    for part in range(PARTITIONS):
        first = part * NODES
        lines.append(f"PartitionName=p{part} Nodes=n[{first}-{first + NODES - 1}] Default={'YES' if part == 0 else 'NO'} MaxTime=INFINITE State=UP")
    open(f"{folder}/slurm.conf", "w").write("\n".join(lines) + "\n")
    open(f"{folder}/gres.conf", "w").write("Name=npu Count=8\n")
    switches = [f"SwitchName=leaf{leaf} Nodes=n[{leaf * 4}-{leaf * 4 + 3}]" for leaf in range(total // 4)]
    switches += [f"SwitchName=row{part} Switches=leaf[{part * 2}-{part * 2 + 1}]" for part in range(PARTITIONS)]
    switches.append(f"SwitchName=root Switches=row[0-{PARTITIONS - 1}]")
    open(f"{folder}/topology.conf", "w").write("\n".join(switches) + "\n")
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"


def start(folder):
    started = [subprocess.Popen(["slurmctld", "-D", "-c"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
    time.sleep(3)
    for node in range(NODES * PARTITIONS):
        os.makedirs(f"{folder}/spool/n{node}", exist_ok=True)
        started.append(subprocess.Popen(["slurmd", "-D", "-N", f"n{node}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(0.1)
    for _ in range(60):
        time.sleep(2)
        if sh("sinfo", "-h", "-t", "idle", "-o", "%D").split() and sum(map(int, sh("sinfo", "-h", "-t", "idle", "-o", "%D").split())) == NODES * PARTITIONS:
            return started
    raise SystemExit("nodes do not come up: " + sh("sinfo"))


def draw(rng):
    """Jobs of one list: nodes, chips per node, seconds, limit in minutes. Lengths are even and apart, so that ends do not meet."""
    jobs = []
    for index in range(8):
        if rng.random() < 0.5:
            nodes, chips = 1, rng.choice([1, 2, 4, 8])
        else:
            nodes, chips = rng.choice([2, 3, 4, 6, 8]), rng.choice([4, 8, 8])
        seconds = rng.choice([6, 10, 14, 18, 24])
        jobs.append({"nodes": nodes, "chips": chips, "seconds": seconds, "limit": rng.choice([1, 2, 3, 5])})
    return jobs


def run(part, seed):
    jobs = draw(random.Random(seed))
    ids = []
    for job in jobs:
        # Cores are not to decide: one per NPU asked for.
        text = sh("sbatch", "--hold", "--parsable", "-p", f"p{part}", "-N", str(job["nodes"]), "--ntasks-per-node=1", "-c", "1",
                  f"--gres=npu:{job['chips']}", "-t", str(job["limit"]), "-o", "/dev/null", "--mem=1", "--wrap", f"sleep {job['seconds']}")
        ids.append(text.strip())
    sh("scontrol", "release", ",".join(ids))
    while sh("squeue", "-h", "-p", f"p{part}", "-o", "%i").split():
        time.sleep(2)
    for job, number in zip(jobs, ids):
        text = sh("scontrol", "show", "job", number)
        field = lambda name: re.search(rf"\b{name}=(\S+)", text).group(1)
        names = sh("scontrol", "show", "hostnames", field("NodeList")).split()
        job["start"] = int(time.mktime(time.strptime(field("StartTime"), "%Y-%m-%dT%H:%M:%S")))
        job["end"] = int(time.mktime(time.strptime(field("EndTime"), "%Y-%m-%dT%H:%M:%S")))
        job["on"] = [int(name[1:]) - part * NODES for name in names]
    first = min(job["start"] for job in jobs)
    for job in jobs:
        job["start"] -= first
        job["end"] -= first
    return {"seed": seed, "jobs": jobs}


def main():
    folder, out, lists = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    configure(folder)
    started = start(folder)
    done = []
    try:
        seeds = list(range(seed, seed + lists))

        def lane(part):
            for at in seeds[part::PARTITIONS]:
                done.append(run(part, at))
                done.sort(key=lambda case: case["seed"])
                open(out, "w").write(json.dumps(done, separators=(",", ":")).replace('{"seed"', '\n{"seed"') + "\n")

        with ThreadPoolExecutor(PARTITIONS) as pool:
            list(pool.map(lane, range(PARTITIONS)))
    finally:
        for process in started:
            process.terminate()


main()
