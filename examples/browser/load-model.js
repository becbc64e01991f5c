// Loads a Gemma-2 and its tokenizer from a folder in Hugging Face's format, by URL.
import { loadTokenizer } from '@wpo/data';
import { bf16ToF32, f16ToF32, gemmaPolicy, loadWeights, parseConfig } from '@wpo/gemma';

const get = async (url) => {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: expected a file of the model, found status ${response.status}.`);
  return response;
};
const json = async (url) => (await get(url)).json();

/**
 * @param folder the URL of the folder, which ends in /
 * @returns two policies with the same weights: one to train, and one that stays as its reference
 */
export async function loadModel(folder) {
  const config = parseConfig(await json(`${folder}config.json`));
  const tokenizer = loadTokenizer({
    tokenizerJson: await json(`${folder}tokenizer.json`),
    tokenizerConfig: await json(`${folder}tokenizer_config.json`),
    embeddingRows: config.vocabSize,
  });
  const chatTemplate = await (await get(`${folder}chat_template.jinja`)).text();
  const weights = safetensors(await (await get(`${folder}model.safetensors`)).arrayBuffer());
  const policy = gemmaPolicy(await loadWeights(config, weights));
  const reference = gemmaPolicy(await loadWeights(config, weights));
  return { policy, reference, text: { tokenizer, chatTemplate } };
}

/** The tensors of a safetensors file: the length of a JSON header in 8 bytes, the header, the values. */
function safetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  delete header.__metadata__;
  const read = {
    F32: (bytes) => new Float32Array(bytes),
    BF16: (bytes) => bf16ToF32(new Uint16Array(bytes)),
    F16: (bytes) => f16ToF32(new Uint16Array(bytes)),
  };
  return {
    names: () => Object.keys(header),
    info: (name) => header[name],
    async read(name) {
      const {
        dtype,
        data_offsets: [start, end],
      } = header[name];
      return read[dtype](buffer.slice(8 + length + start, 8 + length + end));
    },
  };
}
