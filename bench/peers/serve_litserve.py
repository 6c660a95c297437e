"""LitServe: serve_litserve.py PORT. One worker; POST /predict takes JSON {"ids": [[...]]}."""
import sys

import litserve


class Rows(litserve.LitAPI):
    def setup(self, device):
        import model
        self.score = model.score

    def decode_request(self, request):
        return request["ids"]

    def predict(self, x):
        return self.score(x)

    def encode_response(self, output):
        return {"score": output.tolist()}


if __name__ == "__main__":
    litserve.LitServer(Rows(), accelerator="cpu", timeout=600).run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1,
                                                                   generate_client_file=False)
