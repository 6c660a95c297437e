"""docs/compatibility.md speaks of every flag of TensorFlow Serving and of every method that is served."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
FLAG = re.compile(r'X\(\w+,\s*(\w+),\s*(?:"[^"]*"|[^,"]+),\s*([01]),')


def rows(first):
    return re.findall(r"^\| `" + first + r"` \|", PAGE, re.M)


def flags():
    return FLAG.findall((ROOT / "src" / "cli" / "options.h").read_text(encoding="utf-8").replace("\\\n", "\n"))


THEIRS = """
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
    rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
    batching_parameters_file enable_per_model_batching_parameters model_config_file
    model_config_file_poll_wait_seconds model_name model_base_path num_load_threads num_unload_threads
    max_num_load_retries load_retry_interval_micros file_system_poll_wait_seconds flush_filesystem_caches
    tensorflow_session_parallelism tensorflow_session_config_file tensorflow_intra_op_parallelism
    tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file platform_config_file
    per_process_gpu_memory_fraction saved_model_tags grpc_channel_arguments grpc_max_threads
    enable_model_warmup num_request_iterations_for_warmup version monitoring_config_file
    remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
    num_tflite_interpreters_per_pool enable_signature_method_name_check xla_cpu_compilation_enabled
    xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file mixed_precision
    skip_initialize_tpu enable_grpc_healthcheck_service enable_serialization_as_tensor_content
""".split()


def test_every_flag_of_tensorflow_serving_is_taken_and_has_one_row():
    assert len(THEIRS) == 48
    assert not set(THEIRS) - {name for name, _ in flags()}
    assert sorted(row for row in rows(r"--(\w+)") if row in THEIRS) == sorted(THEIRS)


def test_rows_of_flags_name_flags_that_there_are():
    limits = re.findall(r"X\((\w+),", (ROOT / "src" / "base" / "limits.h").read_text(encoding="utf-8"))
    assert not set(rows(r"--(\w+)")) - {name for name, _ in flags()} - set(limits)


def test_a_flag_that_works_is_not_said_to_have_no_effect():
    for name, effect in flags():
        if effect == "1" and name in THEIRS:
            assert not re.search(rf"^\| `--{name}` \|[^|]*(no effect|not yet)", PAGE, re.M), name


def test_every_method_has_a_row():
    served = set()
    for source in (ROOT / "src" / "api").glob("*.c"):
        served.update(re.findall(r'"(/[a-z][\w.]*\.[A-Z]\w+/[A-Z]\w+)"', source.read_text(encoding="utf-8")))
    assert "/tensorflow.serving.PredictionService/Predict" in served
    assert not served - set(rows(r"(/[\w.]+/\w+)"))
