"""deploy/sagemaker/deploy.py against moto's server: the calls that it makes, and what it says when they fail."""
import json
import os
import subprocess
import sys

import boto3
import botocore.stub
import pytest
from moto.server import ThreadedMotoServer

import tern_server

FOLDER = tern_server.ROOT / "deploy" / "sagemaker"
sys.path.insert(0, str(FOLDER))

import deploy  # noqa: E402

REGION, IMAGE, ROLE = "eu-central-1", "1.dkr.ecr.eu-central-1.amazonaws.com/tern:1", "arn:aws:iam::123456789012:role/tern"
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}


@pytest.fixture(scope="module")
def aws():
    """Address of a fresh AWS."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def clients(aws, monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    made = {name: boto3.client(name, region_name=REGION, endpoint_url=aws) for name in ("sagemaker", "s3")}
    made["s3"].create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": REGION})
    yield made
    for endpoint in made["sagemaker"].list_endpoints()["Endpoints"]:
        made["sagemaker"].delete_endpoint(EndpointName=endpoint["EndpointName"])
    for config in made["sagemaker"].list_endpoint_configs()["EndpointConfigs"]:
        made["sagemaker"].delete_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
    for found in made["sagemaker"].list_models()["Models"]:
        made["sagemaker"].delete_model(ModelName=found["ModelName"])
    for item in made["s3"].list_objects_v2(Bucket="models").get("Contents", []):
        made["s3"].delete_object(Bucket="models", Key=item["Key"])
    made["s3"].delete_bucket(Bucket="models")


@pytest.fixture
def model(tmp_path):
    """A packed model."""
    (tmp_path / "half" / "1").mkdir(parents=True)
    (tmp_path / "half" / "1" / "saved_model.pb").write_bytes(b"model")
    out = tmp_path / "model.tar.gz"
    subprocess.run([sys.executable, FOLDER / "pack.py", tmp_path / "half", "--out", out], check=True, stdout=subprocess.DEVNULL)
    return out


@pytest.fixture
def run(aws, clients):
    """run(words...) -> (exit code, result or None, what was said)"""
    def start(*words, code=0):
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | AWS
        done = subprocess.run([sys.executable, str(FOLDER / "deploy.py"), *map(str, words), "--json", "--endpoint-url", aws,
                               "--poll-seconds", "0.1"], env=env, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else None, done.stderr
    return start


def up(model, *more):
    return ["up", "half", "--image", IMAGE, "--role", ROLE, "--model", model, "--upload", "s3://models/deep/", *more]


def variant_of(sagemaker, result):
    config = sagemaker.describe_endpoint_config(EndpointConfigName=result["config"])
    return config, config["ProductionVariants"][0]


def test_up_status_delete(run, clients, model):
    result, said = run(*up(model, "--env", "SAGEMAKER_GUNICORN_WORKERS=2", "--env", "A=b=c", "--tag", "team=web"))
    sagemaker = clients["sagemaker"]
    assert result["status"] == "InService" and not result["updated"] and "model    half, versions 1" in said
    made = sagemaker.describe_model(ModelName=result["model"])
    assert made["ExecutionRoleArn"] == ROLE
    container = made["PrimaryContainer"]
    assert container["Image"] == IMAGE and container["Environment"] == {"SAGEMAKER_GUNICORN_WORKERS": "2", "A": "b=c"}
    bucket, key = container["ModelDataUrl"].removeprefix("s3://").split("/", 1)
    assert key.startswith("deep/half/") and key.endswith("/model.tar.gz")
    assert clients["s3"].get_object(Bucket=bucket, Key=key)["Body"].read() == model.read_bytes()
    _, variant = variant_of(sagemaker, result)
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.xlarge", 1)
    assert variant["ModelName"] == result["model"]
    assert sagemaker.list_tags(ResourceArn=result["arn"])["Tags"] == [{"Key": "team", "Value": "web"}]

    shown, _ = run("status", "half")
    assert shown["status"] == "InService" and shown["models"] == [result["model"]]
    gone, _ = run("delete", "half")
    assert gone["status"] == "deleted"
    assert not sagemaker.list_models()["Models"] and not sagemaker.list_endpoint_configs()["EndpointConfigs"]
    assert "there is no endpoint half" in run("status", "half", code=1)[1]


def test_delete_can_leave_the_model(run, clients, model):
    result, _ = run(*up(model))
    gone, _ = run("delete", "half", "--keep-model")
    assert gone["kept"] == [result["config"], result["model"]]
    clients["sagemaker"].describe_model(ModelName=result["model"])


def test_options_of_the_config(run, clients, model):
    result, _ = run(*up(model, "--capture", "s3://models/seen", "--capture-percent", "20", "--async-output", "s3://models/out",
                        "--async-failures", "s3://models/bad", "--concurrency", "3", "--instance", "ml.g4dn.xlarge", "--count", "2",
                        "--startup-seconds", "600"))
    config, variant = variant_of(clients["sagemaker"], result)
    assert config["DataCaptureConfig"]["InitialSamplingPercentage"] == 20
    assert [o["CaptureMode"] for o in config["DataCaptureConfig"]["CaptureOptions"]] == ["Input", "Output"]
    assert config["AsyncInferenceConfig"] == {
        "OutputConfig": {"S3OutputPath": "s3://models/out", "S3FailurePath": "s3://models/bad"},
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 3}}
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.g4dn.xlarge", 2)


def test_serverless(run, clients, model):
    result, _ = run(*up(model, "--serverless", "4096", "--concurrency", "9"))
    _, variant = variant_of(clients["sagemaker"], result)
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 4096, "MaxConcurrency": 9}
    assert "InstanceType" not in variant


def test_several_models(run, clients):
    result, _ = run("up", "many", "--image", IMAGE, "--role", ROLE, "--model", "s3://models/all/", "--multi-model")
    container = clients["sagemaker"].describe_model(ModelName=result["model"])["PrimaryContainer"]
    assert (container["Mode"], container["ModelDataUrl"]) == ("MultiModel", "s3://models/all/")


def test_a_dry_run_sends_nothing(run, clients, model):
    result, said = run(*up(model, "--dry-run", "--serverless", "2048"))
    calls = [c.pop("call") for c in result["calls"]]
    assert calls == ["PutObject", "CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    assert result["calls"][1]["PrimaryContainer"]["ModelDataUrl"] == result["model_data"]
    assert "would create or update endpoint half" in said
    assert not clients["sagemaker"].list_models()["Models"]
    assert clients["s3"].list_objects_v2(Bucket="models")["KeyCount"] == 0


@pytest.mark.parametrize("words, said", [
    (["--serverless", "2048", "--capture", "s3://models/x"], "a serverless endpoint cannot have --capture"),
    (["--serverless", "2048", "--count", "2"], "a serverless endpoint cannot have --count"),
    (["--concurrency", "2"], "--concurrency goes with"),
    (["--async-failures", "s3://models/x"], "--async-failures goes with --async-output"),
    (["--subnet", "subnet-1"], "a VPC needs --subnet and --security-group"),
    (["--capture", "models/x"], "is not an address like s3://"),
    (["--env", "A"], "write NAME=VALUE"),
    (["--multi-model"], "--model is the s3:// prefix"),
])
def test_what_cannot_be_is_told_before_anything_is_made(run, clients, model, words, said):
    assert said in run(*up(model, *words), code=1)[1]
    assert not clients["sagemaker"].list_models()["Models"]


def test_an_archive_that_would_not_work_is_not_uploaded(run, clients, tmp_path, model):
    model.write_bytes(b"no archive")
    assert "is not a whole tar.gz" in run(*up(model), code=1)[1]
    assert clients["s3"].list_objects_v2(Bucket="models")["KeyCount"] == 0


def test_what_was_made_is_taken_back_when_a_later_call_fails(run, clients, model):
    """moto refuses an instance type that does not exist, after the model was made."""
    said = run(*up(model, "--instance", "ml.none"), code=1)[1]
    assert "ml.none" in said and "took back half-" in said
    assert not clients["sagemaker"].list_models()["Models"]


# moto knows no UpdateEndpoint, and its endpoints are in service at once: these answers come from botocore's stubber, which
# checks every request against the API's own description.

def described(status, config, **more):
    return {"EndpointName": "half", "EndpointArn": "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/half",
            "EndpointConfigName": config, "EndpointStatus": status, "CreationTime": 0, "LastModifiedTime": 0, **more}


ARNS = {"create_model": {"ModelArn": "arn:aws:sagemaker:eu-central-1:123456789012:model/half"},
        "create_endpoint_config": {"EndpointConfigArn": "arn:aws:sagemaker:eu-central-1:123456789012:endpoint-config/half"},
        "update_endpoint": {"EndpointArn": described("", "")["EndpointArn"]}, "delete_model": {}, "delete_endpoint_config": {}}


class Played:
    """deploy.main() with a client whose answers are laid out before. statuses: of describe_endpoint; NEW is the new config."""

    def __init__(self, monkeypatch, answers):
        self.stamp = "20260101-000000"
        monkeypatch.setattr(deploy.time, "strftime", lambda *_: self.stamp)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        self.client = boto3.client("sagemaker", region_name=REGION)
        self.stub = botocore.stub.Stubber(self.client)
        for operation, answer in answers:
            if isinstance(answer, Exception):
                self.stub.add_client_error(operation, "ValidationException", str(answer))
            else:
                self.stub.add_response(operation, answer)
        self.stub.activate()

    def main(self, *words):
        deploy.main([*words, "--json", "--poll-seconds", "0"], {"sagemaker": self.client})
        self.stub.assert_no_pending_responses()


UP = ("up", "half", "--image", IMAGE, "--role", ROLE, "--model", "s3://models/model.tar.gz")
NEW = "half-20260101-000000"
MADE = [(name, ARNS[name]) for name in ("create_model", "create_endpoint_config", "update_endpoint")]


def test_an_endpoint_that_is_there_is_updated(monkeypatch, capsys):
    played = Played(monkeypatch, [
        ("describe_endpoint", described("InService", "old")), *MADE, ("describe_endpoint", described("Updating", "old")),
        ("describe_endpoint", described("Updating", "old")), ("describe_endpoint", described("InService", NEW)),
        ("describe_endpoint", described("InService", NEW))])
    played.main(*UP)
    result = json.loads(capsys.readouterr().out)
    assert result["updated"] and result["previous_config"] == "old" and result["config"] == NEW


@pytest.mark.parametrize("answers, said", [
    ([*MADE, ("describe_endpoint", described("RollingBack", "old")), ("describe_endpoint", described("InService", "old"))],
     "the platform went back to old"),
    ([*MADE, ("describe_endpoint", described("Failed", NEW, FailureReason="did not pass the ping health check"))],
     "the endpoint is Failed: did not pass the ping health check. Its log is the CloudWatch group"),
    ([*MADE[:2], ("update_endpoint", RuntimeError("no such instances left")), ("delete_endpoint_config", {}), ("delete_model", {})],
     "no such instances left"),
])
def test_an_update_that_fails(monkeypatch, answers, said):
    played = Played(monkeypatch, [("describe_endpoint", described("InService", "old")), *answers])
    with pytest.raises(SystemExit) as end:
        played.main(*UP)
    assert said in str(end.value)
    played.stub.assert_no_pending_responses()


@pytest.mark.parametrize("status, said", [("Failed", "has failed"), ("Updating", "is Updating: wait")])
def test_an_endpoint_that_cannot_be_updated(monkeypatch, status, said):
    played = Played(monkeypatch, [("describe_endpoint", described(status, "old"))])
    with pytest.raises(SystemExit) as end:
        played.main(*UP)
    assert said in str(end.value)
