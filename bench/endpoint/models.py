"""Writes the two models of bench/sagemaker.py that are not in the tree: models.py FOLDER

`text` takes documents and gives their lengths: what is left of a request's time is the way there and back. `rows` takes
[N, 160] ids, 1.05 MFLOP a row (2.1 GFLOP and 1.7 MB of JSON at 2,000 rows), with weights of a fixed seed, never trained.
"""
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

IDS, VOCAB, EMBED, WIDTH, LAYERS = 160, 32768, 8, 256, 3


class Text(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="document")])
    def length(self, document):
        return {"length": tf.strings.length(document)}


class Rows(tf.Module):
    def __init__(self):
        super().__init__()
        dice = np.random.default_rng(3)

        def weights(*shape):
            return tf.Variable(dice.normal(size=shape, scale=shape[0] ** -0.5).astype("float32"))

        self.table = weights(VOCAB, EMBED)
        self.dense = [weights(IDS * EMBED, WIDTH), *(weights(WIDTH, WIDTH) for _ in range(LAYERS)), weights(WIDTH, 1)]

    @tf.function(input_signature=[tf.TensorSpec([None, IDS], tf.int32, name="ids")])
    def score(self, ids):
        x = tf.reshape(tf.gather(self.table, ids), [-1, IDS * EMBED])
        for w in self.dense[:-1]:
            x = tf.nn.relu(x @ w)
        return {"score": tf.squeeze(x @ self.dense[-1], 1)}


def main(folder):
    text, rows = Text(), Rows()
    tf.saved_model.save(text, str(folder / "text" / "1"), signatures={"serving_default": text.length})
    tf.saved_model.save(rows, str(folder / "rows" / "1"), signatures={"serving_default": rows.score})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
