"""The program of Triton's Python backend that answers SMILES, as it stands in a repository."""

from typing import Final

__all__ = ["MODEL_PY"]

MODEL_PY: Final = '''\
"""Answers SMILES from the bundle beside this file. Needs graphadapt[serve] in Triton's Python."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from graphadapt.serve.predictor import Predictor


class TritonPythonModel:
    """All requests that Triton hands over at once are answered as one batch."""

    def initialize(self, args):
        """Open the bundle once for each instance."""
        version = Path(args["model_repository"]) / args["model_version"]
        self._predictor = Predictor(version / "bundle")
        self._own = self._predictor.contract.own_columns

    def execute(self, requests):
        """One response a request; where they cannot be answered together, each by itself."""
        try:
            return self._together(requests)
        except ValueError:
            return [self._alone(request) for request in requests]

    def finalize(self):
        """End the threads once what is in flight is answered."""
        self._predictor.close()

    def _alone(self, request):
        try:
            return self._together([request])[0]
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))

    def _together(self, requests):
        """Answers, NaN where there is an error, and the errors."""
        smiles = [_texts(request) for request in requests]
        sizes = [len(each) for each in smiles]
        everything = [text for each in smiles for text in each]
        found = self._predictor.predict(everything, columns=self._columns(requests, sizes))
        errors = [found.failures.get(row, "") for row in range(len(everything))]
        ends = np.cumsum(sizes)
        spans = [slice(end - size, end) for size, end in zip(sizes, ends)]
        return [_response(found, errors, span) for span in spans]

    def _columns(self, requests, sizes):
        """The user's own feature columns, where the model reads them."""
        if not self._own:
            return None
        tables = [
            pb_utils.get_input_tensor_by_name(request, "columns").as_numpy()
            for request in requests
        ]
        for table, size in zip(tables, sizes):
            if len(table) != size:
                raise ValueError(f"{len(table)} rows of columns were given for {size} SMILES")
        joined = np.concatenate(tables)
        return {name: joined[:, place].tolist() for place, name in enumerate(self._own)}


def _texts(request):
    tensor = pb_utils.get_input_tensor_by_name(request, "smiles").as_numpy()
    return [text.decode("utf-8", "replace") for text in tensor.reshape(-1)]


def _response(found, errors, span):
    table = np.array([text.encode() for text in errors[span]], np.object_).reshape(-1, 1)
    outputs = [
        pb_utils.Tensor("answers", np.ascontiguousarray(found.values[span], np.float32)),
        pb_utils.Tensor("error", table),
    ]
    if found.applicability is not None:
        figures = np.ascontiguousarray(found.applicability[span], np.float32)
        outputs.append(pb_utils.Tensor("applicability", figures))
    return pb_utils.InferenceResponse(output_tensors=outputs)
'''
