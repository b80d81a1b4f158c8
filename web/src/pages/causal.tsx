import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["causal"] ?? ""} />;
}

export const causal: PageOf = { path: "causal", nav: "Causal", title: () => "Causal", Page };
