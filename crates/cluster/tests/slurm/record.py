#!/usr/bin/env python3
"""Records what real Slurms do with random lists of jobs, as golden cases for the tests.

Each lane is a Slurm of its own on this machine: one slurmctld and eight slurmd (Gres=npu:8, two leaf switches of four nodes under
topology/tree, sched/backfill, priority/basic), and it runs one list at a time, so that no two lists meet in a planner. There
are three kinds of lists:

  burst      all jobs are submitted held and released at once
  staggered  jobs are submitted one after the other
  preempt    as staggered, some of them to a partition whose jobs stop and requeue those of the other (preempt/partition_prio)

Jobs end before their limit. One that is stopped keeps its progress and goes on where it was, as a job with checkpoints does.
A list's record is its jobs, when each was submitted, its starts with their nodes, and its end. Needs root, slurmctld, slurmd and a
running munged:

    record.py FOLDER OUT.json KIND LISTS SEED [LANES]
"""
import json, os, random, re, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

NODES, CHIPS = 8, 8
FIRST_PORT = 20000


class Lane:
    def __init__(self, folder, number, kind):
        self.folder, self.number, self.kind = f"{folder}/lane{number}", number, kind
        self.environment = dict(os.environ, SLURM_CONF=f"{self.folder}/slurm.conf")
        self.started = []

    def sh(self, *words):
        return subprocess.run(words, capture_output=True, text=True, check=True, env=self.environment).stdout

    def configure(self):
        folder, host, port = self.folder, os.uname().nodename, FIRST_PORT + 20 * self.number
        for name in ["state", "spool", "log"]:
            os.makedirs(f"{folder}/{name}", exist_ok=True)
        lines = [
            f"ClusterName=lane{self.number}", f"SlurmctldHost={host}", f"SlurmctldPort={port}", "SlurmUser=root", "SlurmdUser=root",
            "AuthType=auth/munge", "CryptoType=crypto/munge", f"StateSaveLocation={folder}/state",
            f"SlurmdSpoolDir={folder}/spool/%n", f"SlurmctldPidFile={folder}/ctld.pid", f"SlurmdPidFile={folder}/%n.pid",
            f"SlurmctldLogFile={folder}/ctld.log", f"SlurmdLogFile={folder}/%n.log", "ProctrackType=proctrack/pgid",
            "TaskPlugin=task/none", "SwitchType=switch/none", "MpiDefault=none", "SlurmdParameters=config_overrides",
            "ReturnToService=2", "SchedulerType=sched/backfill",
            "SchedulerParameters=bf_interval=1,bf_continue,bf_resolution=1,sched_min_interval=100000,default_queue_depth=1000,"
            "batch_sched_delay=0",
            "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core", "TopologyPlugin=topology/tree",
            "PriorityType=priority/basic", "AccountingStorageType=accounting_storage/none", "JobAcctGatherType=jobacct_gather/none",
            "GresTypes=npu", "SlurmctldTimeout=300", "SlurmdTimeout=300", "InactiveLimit=0", "KillWait=5", "MinJobAge=600",
            "CompleteWait=0", "MessageTimeout=60", "JobRequeue=1",
        ]
        if self.kind == "preempt":
            lines += ["PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE"]
        for node in range(NODES):
            lines.append(
                f"NodeName=n{node} NodeHostname={host} Port={port + 1 + node} CPUs=8 CoresPerSocket=8 RealMemory=1000 Gres=npu:8 State=UNKNOWN"
            )
        every = f"Nodes=n[0-{NODES - 1}] MaxTime=INFINITE State=UP"
        lines.append(f"PartitionName=low {every} Default=YES PriorityTier=1")
        if self.kind == "preempt":
            lines.append(f"PartitionName=high {every} PriorityTier=2 PreemptMode=OFF")
        open(f"{folder}/slurm.conf", "w").write("\n".join(lines) + "\n")
        open(f"{folder}/gres.conf", "w").write("Name=npu Count=8\n")
        switches = [f"SwitchName=leaf{leaf} Nodes=n[{leaf * 4}-{leaf * 4 + 3}]" for leaf in range(NODES // 4)]
        switches.append(f"SwitchName=root Switches=leaf[0-{NODES // 4 - 1}]")
        open(f"{folder}/topology.conf", "w").write("\n".join(switches) + "\n")

    def begin(self, *words):
        quiet = subprocess.DEVNULL
        self.started.append(subprocess.Popen(words, stdout=quiet, stderr=quiet, env=self.environment))

    def start(self):
        self.begin("slurmctld", "-D", "-c")
        time.sleep(3)
        for node in range(NODES):
            os.makedirs(f"{self.folder}/spool/n{node}", exist_ok=True)
            self.begin("slurmd", "-D", "-N", f"n{node}")
        for _ in range(60):
            time.sleep(2)
            idle = self.sh("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D").split()
            if sum(map(int, idle)) == NODES:
                return
        raise SystemExit("nodes do not come up: " + self.sh("sinfo"))

    def submit(self, job, hold):
        folder, seconds = f"{self.folder}/log", job["seconds"]
        # The job counts the seconds it has worked in a file, and notes where and when it starts.
        text = (
            f'echo $(date +%s) $SLURM_JOB_NODELIST >> {folder}/$SLURM_JOB_ID.starts; '
            f"i=$(cat {folder}/$SLURM_JOB_ID.done 2>/dev/null || echo 0); "
            f"while [ $i -lt {seconds} ]; do sleep 1; i=$((i+1)); echo $i > {folder}/$SLURM_JOB_ID.done; done"
            if self.kind == "preempt"
            else f"echo $(date +%s) $SLURM_JOB_NODELIST >> {folder}/$SLURM_JOB_ID.starts; sleep {seconds}"
        )
        words = ["sbatch", "--parsable", "--requeue", "-p", "high" if job.get("high") else "low", "-N", str(job["nodes"])]
        # Cores are not to decide: one per NPU asked for.
        words += ["--ntasks-per-node=1", "-c", "1", f"--gres=npu:{job['chips']}", "-t", str(job["limit"]), "-o", "/dev/null", "--mem=1"]
        return self.sh(*words, *(["--hold"] if hold else []), "--wrap", text).strip()

    def nodes(self, text):
        return [int(name[1:]) for name in self.sh("scontrol", "show", "hostnames", text).split()]

    def run(self, seed):
        jobs, began = draw(random.Random(seed), self.kind), time.time()
        numbers = []
        for job in jobs:
            time.sleep(max(0.0, began + job.pop("after", 0) - time.time()))
            numbers.append(self.submit(job, self.kind == "burst"))
            # Slurm's own time of submission becomes that of the requeue.
            job["submit"] = int(time.time())
        if self.kind == "burst":
            self.sh("scontrol", "release", ",".join(numbers))
        while self.sh("squeue", "-h", "-o", "%i").split():
            time.sleep(2)
        for job, number in zip(jobs, numbers):
            text = self.sh("scontrol", "show", "job", number)
            stamp = lambda name: int(time.mktime(time.strptime(re.search(rf"\b{name}=(\S+)", text).group(1), "%Y-%m-%dT%H:%M:%S")))
            lines = [line.split() for line in open(f"{self.folder}/log/{number}.starts")]
            starts = [[int(at), self.nodes(names)] for at, names in lines]
            # What Slurm says of the last start is exact; the job's own clock is a little later.
            starts[-1][0] = stamp("StartTime")
            job.update(starts=starts, end=stamp("EndTime"))
        first = min(job["submit"] if self.kind != "burst" else job["starts"][0][0] for job in jobs)
        for job in jobs:
            job["submit"] = job["submit"] - first if self.kind != "burst" else 0
            job["end"] -= first
            for start in job["starts"]:
                start[0] -= first
        return {"seed": seed, "jobs": jobs}

    def stop(self):
        for process in self.started:
            process.terminate()


def draw(rng, kind):
    """Jobs of one list: nodes, chips per node, seconds, limit in minutes. Lengths are even and apart, so that ends do not meet."""
    jobs, at = [], 0
    for index in range(8):
        if rng.random() < 0.5:
            nodes, chips = 1, rng.choice([1, 2, 4, 8])
        else:
            nodes, chips = rng.choice([2, 3, 4, 6, 8]), rng.choice([4, 8, 8])
        seconds = rng.choice([6, 10, 14, 18, 24])
        job = {"nodes": nodes, "chips": chips, "seconds": seconds, "limit": rng.choice([1, 2, 3, 5])}
        if kind != "burst":
            at += rng.choice([2, 3, 5])
            job["after"] = at
        if kind == "preempt" and index >= 2 and rng.random() < 0.3:
            job["high"] = True
        jobs.append(job)
    return jobs


def main():
    folder, out, kind, lists, seed = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    count = int(sys.argv[6]) if len(sys.argv) > 6 else 6
    lanes = [Lane(folder, number, kind) for number in range(count)]
    done, waiting, lock = [], list(range(seed, seed + lists)), threading.Lock()

    def work(lane):
        while True:
            with lock:
                if not waiting:
                    return
                at = waiting.pop(0)
            case = lane.run(at)
            with lock:
                done.append(case)
                done.sort(key=lambda case: case["seed"])
                open(out, "w").write(json.dumps(done, separators=(",", ":")).replace('{"seed"', '\n{"seed"') + "\n")

    try:
        for lane in lanes:
            lane.configure()
            lane.start()
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(work, lanes))
    finally:
        for lane in lanes:
            lane.stop()


main()
