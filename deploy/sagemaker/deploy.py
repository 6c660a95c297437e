#!/usr/bin/env python3
"""Puts a model on a SageMaker endpoint with the Tern image, updates it, shows it, and takes it away again.

    deploy.py up NAME --image URI --role ARN --model model.tar.gz --upload s3://BUCKET/PREFIX
    deploy.py up NAME --image URI --role ARN --model s3://BUCKET/model.tar.gz --serverless 4096
    deploy.py status NAME
    deploy.py delete NAME

`up` checks the archive (pack.py), uploads it, makes a model and an endpoint config under new names, and creates the endpoint,
or updates it without an interruption when it is there; then it waits until the endpoint is in service. --dry-run prints the
calls and sends none. --json prints the result as JSON; what happens meanwhile goes to standard error. Credentials and region
are boto3's. Exit codes: 0 done, 1 failed, 2 wrong arguments.
"""
import argparse
import json
import re
import sys
import time
from pathlib import Path

import pack

S3 = re.compile(r"^s3://([^/]+)/?(.*)$")
VARIANT = "AllTraffic"


class Failure(Exception):
    """Ends the program with a sentence."""


def s3_parts(uri):
    found = S3.match(uri)
    if not found:
        raise Failure(f"{uri} is not an address like s3://BUCKET/PREFIX")
    return found[1], found[2].strip("/")


def pairs(items, what):
    out = {}
    for item in items or ():
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise Failure(f"{what} {item}: write NAME=VALUE")
        out[name] = value
    return out


# ---- what is asked for, as parameters of the calls ----

def model_request(args, name, data_url):
    environment = pairs(args.env, "--env")
    container = {"Image": args.image, "ModelDataUrl": data_url}
    if args.multi_model:
        container["Mode"] = "MultiModel"
        environment.setdefault("SAGEMAKER_MULTI_MODEL", "true")
    if environment:
        container["Environment"] = environment
    request = {"ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": args.role}
    if args.subnet or args.security_group:
        request["VpcConfig"] = {"Subnets": args.subnet or [], "SecurityGroupIds": args.security_group or []}
    if args.isolated:
        request["EnableNetworkIsolation"] = True
    return with_tags(request, args)


def config_request(args, name, model):
    variant = {"VariantName": VARIANT, "ModelName": model}
    if args.serverless:
        variant["ServerlessConfig"] = {"MemorySizeInMB": args.serverless, "MaxConcurrency": args.concurrency or 5}
    else:
        variant.update({"InstanceType": args.instance, "InitialInstanceCount": args.count, "InitialVariantWeight": 1.0})
        if args.startup_seconds:
            variant["ContainerStartupHealthCheckTimeoutInSeconds"] = args.startup_seconds
    request = {"EndpointConfigName": name, "ProductionVariants": [variant]}
    if args.async_output:
        request["AsyncInferenceConfig"] = {"OutputConfig": {"S3OutputPath": args.async_output}}
        if args.async_failures:
            request["AsyncInferenceConfig"]["OutputConfig"]["S3FailurePath"] = args.async_failures
        if args.concurrency:
            request["AsyncInferenceConfig"]["ClientConfig"] = {"MaxConcurrentInvocationsPerInstance": args.concurrency}
    if args.capture:
        request["DataCaptureConfig"] = {
            "EnableCapture": True, "InitialSamplingPercentage": args.capture_percent, "DestinationS3Uri": args.capture,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json", "application/jsonlines"],
                                         "CsvContentTypes": ["text/csv"]}}
    return with_tags(request, args)


def with_tags(request, args):
    tags = pairs(args.tag, "--tag")
    if tags:
        request["Tags"] = [{"Key": k, "Value": v} for k, v in tags.items()]
    return request


def judge(args):
    """Combinations that the platform refuses, told before anything is made."""
    if args.serverless:
        refused = {"--capture": args.capture, "--async-output": args.async_output, "--multi-model": args.multi_model,
                   "--subnet": args.subnet, "--security-group": args.security_group, "--startup-seconds": args.startup_seconds,
                   "--instance": args.instance, "--count": args.count}
        wrong = [flag for flag, value in refused.items() if value]
        if wrong:
            raise Failure(f"a serverless endpoint cannot have {', '.join(wrong)}")
    elif args.concurrency and not args.async_output:
        raise Failure("--concurrency goes with --serverless or --async-output")
    if args.async_failures and not args.async_output:
        raise Failure("--async-failures goes with --async-output")
    if bool(args.subnet) != bool(args.security_group):
        raise Failure("a VPC needs --subnet and --security-group")
    for uri in (args.async_output, args.async_failures, args.capture, args.upload):
        if uri:
            s3_parts(uri)
    args.instance = args.instance or "ml.c5.xlarge"
    args.count = args.count or 1
    if args.multi_model:
        if not args.model.startswith("s3://"):
            raise Failure("with --multi-model, --model is the s3:// prefix below which the models' archives lie")
    elif not args.model.startswith("s3://") and not args.upload:
        raise Failure(f"--model {args.model} is a local file: say by --upload s3://BUCKET/PREFIX where it is to go")


# ---- the calls ----

class Session:
    """The clients, what was made, and what is said meanwhile."""

    def __init__(self, args, clients=None):
        self.args, self.quiet, self.dry = args, args.json, args.dry_run
        self.made, self.calls, self.clients = [], [], clients or {}

    def say(self, text):
        print(text, file=sys.stderr if self.quiet else sys.stdout, flush=True)

    def client(self, name):
        if name not in self.clients:
            try:
                import boto3
            except ImportError:
                raise Failure("boto3 is not installed: pip install boto3") from None
            self.clients[name] = boto3.client(name, region_name=self.args.region, endpoint_url=self.args.endpoint_url)
        return self.clients[name]

    def call(self, operation, **request):
        """One call of SageMaker's API; with --dry-run it is only shown."""
        self.calls.append({"call": operation, **request})
        if self.dry:
            self.say(f"{operation} {json.dumps(request, indent=2)}")
            return {}
        words = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        return getattr(self.client("sagemaker"), words)(**request)

    def make(self, operation, undo, name_key, **request):
        """A call that makes something which is taken away again if a later step fails."""
        answer = self.call(operation, **request)
        self.made.append((undo, {name_key: request[name_key]}))
        self.say(f"{'would make' if self.dry else 'made'} {operation.removeprefix('Create')} {request[name_key]}")
        return answer

    def take_back(self):
        for undo, key in reversed(self.made):
            try:
                self.call(undo, **key)
                self.say(f"took back {next(iter(key.values()))}")
            except Exception as error:  # noqa: BLE001, the first failure is the one to tell
                self.say(f"could not take back {next(iter(key.values()))}: {error}")

    def describe(self, name):
        """The endpoint's description, None when there is none."""
        try:
            return self.client("sagemaker").describe_endpoint(EndpointName=name)
        except self.client("sagemaker").exceptions.ClientError as error:
            if "Could not find" in str(error):
                return None
            raise


def upload(session, args, stamp):
    """-> address of the model's archive"""
    if args.model.startswith("s3://"):
        return args.model
    file = Path(args.model)
    report = pack.look_at_archive(file)
    for line in pack.lines_of(report):
        session.say(line)
    if report["errors"]:
        raise Failure(f"{file} would not work on the endpoint, see above")
    bucket, prefix = s3_parts(args.upload)
    key = "/".join(p for p in (prefix, args.name, stamp, "model.tar.gz") if p)
    session.calls.append({"call": "PutObject", "Bucket": bucket, "Key": key, "File": str(file)})
    if session.dry:
        session.say(f"PutObject s3://{bucket}/{key} ({file})")
    else:
        session.say(f"uploading {file} ({file.stat().st_size / 1e6:.1f} MB) to s3://{bucket}/{key}")
        session.client("s3").upload_file(str(file), bucket, key)
    return f"s3://{bucket}/{key}"


def wait(session, args):
    """Until the endpoint is in service -> its description; raises when it is not in the end."""
    end, last = time.monotonic() + args.wait_minutes * 60, None
    while True:
        found = session.describe(args.name) or {"EndpointStatus": "Deleted"}
        status = found["EndpointStatus"]
        if status != last:
            session.say(f"endpoint {args.name}: {status}")
            last = status
        if status == "InService":
            return found
        if status not in ("Creating", "Updating", "SystemUpdating", "RollingBack"):
            raise Failure(f"the endpoint is {status}: {found.get('FailureReason', 'no reason given')}. Its log is the CloudWatch "
                          f"group /aws/sagemaker/Endpoints/{args.name}; `deploy.py delete {args.name}` takes it away")
        if time.monotonic() > end:
            raise Failure(f"the endpoint is still {status} after {args.wait_minutes} minutes; `deploy.py status {args.name}` "
                          "shows it")
        time.sleep(args.poll_seconds)


def up(session, args):
    judge(args)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    data = upload(session, args, stamp)
    there = None if session.dry else session.describe(args.name)
    if there and there["EndpointStatus"] == "Failed":
        raise Failure(f"endpoint {args.name} is there and has failed; `deploy.py delete {args.name}` first")
    if there and there["EndpointStatus"] != "InService":
        raise Failure(f"endpoint {args.name} is {there['EndpointStatus']}: wait until it is in service")
    name = f"{args.name}-{stamp}"
    if len(name) > 63:
        raise Failure(f"the name may have up to {63 - len(stamp) - 1} characters, since models get the time behind it")
    try:
        session.make("CreateModel", "DeleteModel", "ModelName", **model_request(args, name, data))
        session.make("CreateEndpointConfig", "DeleteEndpointConfig", "EndpointConfigName", **config_request(args, name, name))
        verb = "UpdateEndpoint" if there else "CreateEndpoint"
        request = {"EndpointName": args.name, "EndpointConfigName": name}
        session.call(verb, **(request if there else with_tags(request, args)))
        session.say(("would create or update" if session.dry else "updates" if there else "creates") + f" endpoint {args.name}")
    except Exception:
        if not session.dry:
            session.take_back()
        raise
    result = {"endpoint": args.name, "model": name, "config": name, "model_data": data, "updated": bool(there),
              "previous_config": there["EndpointConfigName"] if there else None}
    if session.dry:
        return {**result, "dry_run": True, "calls": session.calls}
    if not args.no_wait:
        found = wait(session, args)
        if found["EndpointConfigName"] != name:
            raise Failure(f"the platform went back to {found['EndpointConfigName']}: "
                          f"{found.get('FailureReason', 'no reason given')}")
    found = session.describe(args.name)
    return {**result, "status": found["EndpointStatus"], "arn": found["EndpointArn"]}


def status(session, args):
    found = session.describe(args.name)
    if found is None:
        raise Failure(f"there is no endpoint {args.name}")
    config = session.client("sagemaker").describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    return {"endpoint": args.name, "status": found["EndpointStatus"], "config": found["EndpointConfigName"],
            "models": [v["ModelName"] for v in config["ProductionVariants"]], "arn": found["EndpointArn"],
            **({"reason": found["FailureReason"]} if found.get("FailureReason") else {})}


def delete(session, args):
    """The endpoint, and unless --keep-model its config and models; archives in S3 stay."""
    found = {"config": f"CONFIG OF {args.name}", "models": [f"MODEL OF {args.name}"]} if session.dry else status(session, args)
    session.call("DeleteEndpoint", EndpointName=args.name)
    if not args.keep_model:
        session.call("DeleteEndpointConfig", EndpointConfigName=found["config"])
        for model in found["models"]:
            session.call("DeleteModel", ModelName=model)
    if not args.no_wait and not session.dry:
        end = time.monotonic() + args.wait_minutes * 60
        while session.describe(args.name) is not None:
            if time.monotonic() > end:
                raise Failure(f"the endpoint is still there after {args.wait_minutes} minutes")
            time.sleep(args.poll_seconds)
    return {"endpoint": args.name, "status": "would be deleted" if session.dry else "deleted",
            "kept": [found["config"], *found["models"]] if args.keep_model else []}


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("name", metavar="NAME", help="the endpoint")
    common.add_argument("--region", help="default: boto3's")
    common.add_argument("--endpoint-url", help="another address of the API, for tests")
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    common.add_argument("--dry-run", action="store_true", help="print the calls, send none")
    common.add_argument("--no-wait", action="store_true", help="do not wait for the end")
    common.add_argument("--wait-minutes", type=float, default=30)
    common.add_argument("--poll-seconds", type=float, default=10, help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="up|status|delete")
    add = verbs.add_parser("up", parents=[common], help="create or update an endpoint").add_argument
    add("--image", required=True, metavar="URI", help="the Tern image in ECR")
    add("--role", required=True, metavar="ARN", help="role that SageMaker takes: it reads the image, the archive, writes results")
    add("--model", required=True, metavar="FILE|S3", help="model.tar.gz, or where it lies in S3")
    add("--upload", metavar="S3", help="where a local archive goes: s3://BUCKET/PREFIX/NAME/TIME/model.tar.gz")
    add("--instance", metavar="TYPE", help="default ml.c5.xlarge")
    add("--count", type=int, metavar="N", help="instances, default 1")
    add("--env", action="append", metavar="NAME=VALUE", help="variable of the container; may be repeated")
    add("--startup-seconds", type=int, metavar="N", help="how long the container may take to be healthy: 60 to 3600")
    add("--serverless", type=int, metavar="MB", help="serverless with this much memory: 1024 to 6144")
    add("--concurrency", type=int, metavar="N", help="calls at once: serverless (default 5), or of an instance with --async-output")
    add("--async-output", metavar="S3", help="asynchronous endpoint, answers go there")
    add("--async-failures", metavar="S3", help="and failures there")
    add("--capture", metavar="S3", help="data capture of requests and answers to there")
    add("--capture-percent", type=int, default=100, metavar="N")
    add("--multi-model", action="store_true", help="many models below one S3 prefix, loaded when they are called")
    add("--subnet", action="append", metavar="ID", help="VPC; may be repeated")
    add("--security-group", action="append", metavar="ID", help="likewise")
    add("--isolated", action="store_true", help="no network for the container: requirements need code/wheels")
    add("--tag", action="append", metavar="NAME=VALUE", help="may be repeated")
    verbs.add_parser("status", parents=[common], help="show an endpoint")
    verbs.add_parser("delete", parents=[common], help="delete it with its config and model").add_argument(
        "--keep-model", action="store_true", help="leave config and model")
    return parser.parse_args(argv)


def main(argv=None, clients=None):
    args = arguments(argv)
    session = Session(args, clients)
    try:
        result = {"up": up, "status": status, "delete": delete}[args.verb](session, args)
    except (Failure, pack.Problem) as failure:
        sys.exit(f"deploy: {failure}")
    except KeyboardInterrupt:
        sys.exit(f"deploy: interrupted; the endpoint goes on as it was asked: `deploy.py status {args.name}`")
    except Exception as error:  # noqa: BLE001, boto3's classes are made at run time; each has its own sentence
        if type(error).__module__.partition(".")[0] in ("boto3", "botocore") or hasattr(error, "response"):
            sys.exit(f"deploy: {error}")
        raise
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print("\n".join(f"{k:15s} {', '.join(v) if isinstance(v, list) else v}" for k, v in result.items()
                        if k != "calls" and v not in (None, [], False)))


if __name__ == "__main__":
    main()
