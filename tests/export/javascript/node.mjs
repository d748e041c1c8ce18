// node node.mjs MODELS NAME TEXT...: prints the probabilities of the labels of each text.
import { classify } from "./classify.mjs";

const [models, name, ...texts] = process.argv.slice(2);
const one = { device: "cpu", session_options: { intraOpNumThreads: 1 } };
console.log(JSON.stringify(await classify(models, name, texts, one)));
