import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["crispr"] ?? ""} />;
}

export const crispr: PageOf = { path: "crispr", nav: "CRISPRi", title: () => "CRISPRi", Page };
