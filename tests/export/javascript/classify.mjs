import { env, pipeline } from "@huggingface/transformers";

env.allowRemoteModels = false;
env.allowLocalModels = true;

/** For each text the probability of every label, of the model in folder `name` of the folder or URL `models`. */
export async function classify(models, name, texts, options = {}) {
  env.localModelPath = models;
  const classifier = await pipeline("text-classification", name, { dtype: "fp32", ...options });
  const answers = await classifier(texts, { top_k: null });
  return answers.map((labels) => Object.fromEntries(labels.map(({ label, score }) => [label, score])));
}
