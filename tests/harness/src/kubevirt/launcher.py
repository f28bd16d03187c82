"""Plays virt-launcher: finds hook sidecars as it does, and calls them. A job is read from standard input, JSON:

{"directory": ..., "count": N, "patience": seconds, "vmi": {...}, "domain": "<domain/>"?, "cloud-init": {...}?,
 "no-cloud": {...}?, "shutdown": bool?, "mutate": {"socket": ..., "type": ..., "context": ...}?}

What came of it is printed as JSON; a call that failed is {"code", "message"} in "error".
"""

import json
import os
import sys
import time

import grpc

import wire

PB = wire.load()


def files(directory):
    """Sockets in the directory itself (older launchers) and one below (newer ones)."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from (os.path.join(entry.path, name) for name in sorted(os.listdir(entry.path)))
        else:
            yield entry.path


def collect(directory, count, patience):
    known, found = set(), []
    deadline = time.monotonic() + patience
    while len(found) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"found {len(found)} of {count} sidecars")
        for path in files(directory):
            if os.path.basename(path) in known:
                continue
            channel = wire.dial(path, 1)
            info = wire.call(channel, wire.INFO, "Info", PB["info"].InfoParams(), PB["info"].InfoResult, 1)
            version = next(version for version in wire.VERSIONS if version in info.versions)
            known.add(os.path.basename(path))
            found.append((path, channel, info, version))
        if len(found) < count:
            time.sleep(0.3)
    return found


def points(info):
    return [point.name for point in info.hookPoints]


def define(found, domain, vmi):
    for path, channel, info, version in found:
        if "OnDefineDomain" in points(info):
            pb = PB[version]
            request = pb.OnDefineDomainParams(domainXML=domain, vmi=vmi)
            service = wire.callbacks(version)
            domain = wire.call(channel, service, "OnDefineDomain", request, pb.OnDefineDomainResult, 60).domainXML
    return domain


def cloud_init(found, data, no_cloud, vmi):
    """The first that subscribed, alone."""
    for path, channel, info, version in found:
        if "PreCloudInitIso" not in points(info) or version == "v1alpha1":
            continue
        pb = PB[version]
        request = pb.PreCloudInitIsoParams(cloudInitNoCloudSource=no_cloud, vmi=vmi, cloudInitData=data)
        result = wire.call(channel, wire.callbacks(version), "PreCloudInitIso", request, pb.PreCloudInitIsoResult, 60)
        return result.cloudInitData, result.cloudInitNoCloudSource
    return data, no_cloud


def shutdown(found):
    for path, channel, info, version in found:
        if "Shutdown" in points(info) and version == "v1alpha3":
            pb = PB[version]
            wire.call(channel, wire.callbacks(version), "Shutdown", pb.ShutdownParams(), pb.ShutdownResult, 60)


def mutate(job, domain, vmi):
    pb = PB["plugins"]
    request = pb.MutateDomainRequest(domain_type=job["type"], domain=domain, vmi=vmi)
    request.sidecar_context.invocation_context = job["context"]
    channel = wire.dial(job["socket"], 5)
    return wire.call(channel, wire.STRUCTURED, "MutateDomain", request, pb.MutateDomainResponse, 30).domain


def work(job, result):
    vmi = json.dumps(job.get("vmi", {})).encode()
    domain = job.get("domain", "").encode()
    if "mutate" in job:
        result["mutated"] = mutate(job["mutate"], domain, vmi).decode()
        return
    found = collect(job["directory"], job["count"], job.get("patience", 60))
    result["sidecars"] = [
        {"socket": path, "name": info.name, "versions": list(info.versions), "version": version,
         "points": {point.name: point.priority for point in info.hookPoints}}
        for path, _, info, version in found
    ]
    if domain:
        result["domain"] = define(found, domain, vmi).decode()
    if "cloud-init" in job or "no-cloud" in job:
        sent = [json.dumps(job[key]).encode() if key in job else b"" for key in ("cloud-init", "no-cloud")]
        data, no_cloud = cloud_init(found, *sent, vmi)
        result["cloud-init"] = json.loads(data) if data else None
        result["no-cloud"] = json.loads(no_cloud) if no_cloud else None
    if job.get("shutdown"):
        shutdown(found)


def main():
    result = {}
    try:
        work(json.load(sys.stdin), result)
    except grpc.RpcError as error:
        result["error"] = {"code": error.code().name, "message": error.details()}
    json.dump(result, sys.stdout)


main()
